# Each alarm's description says what to do. An alarm costs $0.10 a month for each metric that it watches, and each term
# of a sum counts as a metric. So no alarm watches the errors of single functions. Each error that retries do not mend
# raises another alarm:
#
# - of a function behind the API: api-errors
# - of start_due_executions: late-ticks with the first retry, tick-dead-letters after the last
# - of start_spread_executions: tick-dead-letters, after the last
# - of run_execution and finish_execution: manager-failures, or reaped
# - of pause_failing_job, reap_executions, reconcile_schedules, start_children and start_waiting_executions: upkeep-dead-letters
#
# https://aws.amazon.com/cloudwatch/pricing/

locals {
  # These queues keep what could not be delivered or handled. `make redrive` invokes the functions again.
  dead_letter_queues = {
    tick   = module.tick_dead_letters.name
    upkeep = module.upkeep_dead_letters.name
  }

  alarms = merge(
    {
      for key, queue in local.dead_letter_queues : "${key}-dead-letters" => {
        description = "Something could not be delivered or handled and waits in ${queue}. The messages (ERROR_CODE, responsePayload) and the functions' logs say why. Fix the cause, then run: make redrive STAGE=${var.stage}"
        namespace   = "AWS/SQS"
        metric      = "ApproximateNumberOfMessagesVisible"
        dimensions  = { QueueName = queue }
        statistic   = "Maximum"
        threshold   = var.alarm_thresholds.dead_letters
      }
    },
    {
      late-ticks = {
        description = "Ticks wait before start_due_executions handles them; the value is in milliseconds. Check the throttles and errors of start_due_executions and the account's Lambda concurrency. Request a higher quota if the concurrency is used up."
        namespace   = "AWS/Lambda"
        metric      = "AsyncEventAge"
        dimensions  = { FunctionName = module.start_due_executions.function_name }
        statistic   = "Maximum"
        threshold   = var.alarm_thresholds.tick_age_ms
      }
      throttled-ticks = {
        description = "Lambda throttles start_due_executions. Lambda retries the ticks for an hour and then sends them to the dead-letter queue. Raise the account's Lambda concurrency, or spread the schedules."
        namespace   = "AWS/Lambda"
        metric      = "Throttles"
        dimensions  = { FunctionName = module.start_due_executions.function_name }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.throttled_ticks
      }
      lost-ticks = {
        description = "A tick failed and Lambda could not send it to the dead-letter queue, so the tick is lost. Check the queue, its policy and the stage's key. Then run the jobs of the schedule with POST …/executions, because catch_up covers only ticks that never reached the function."
        namespace   = "AWS/Lambda"
        metric      = "DestinationDeliveryFailures"
        dimensions  = { FunctionName = module.start_due_executions.function_name }
        statistic   = "Sum"
        threshold   = 1
      }
      throttled-executions = {
        description = "Step Functions throttles state transitions, so executions are late. Request a higher StateTransition quota, or spread the schedules."
        namespace   = "AWS/States"
        metric      = "ExecutionThrottled"
        dimensions  = { StateMachineArn = local.run_job_arn }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.throttled_executions
      }
      timed-out-executions = {
        description = "Express machines ran out of their five minutes. The sweep goes on with each execution that has a record. One that had not begun is lost: compare the history with the schedule, and run its job with POST …/executions. Check the errors and the duration of run_execution and finish_execution."
        namespace   = "AWS/States"
        metric      = "ExecutionsTimedOut"
        dimensions  = { StateMachineArn = local.run_job_express_arn }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.timed_out_executions
      }
      api-errors = {
        description = "The API answers requests with 5xx. The saved query 'errors' names the function and the error. Services retry their callbacks, and callers can safely retry any request."
        namespace   = "AWS/ApiGateway"
        metric      = "5xx"
        dimensions  = { ApiId = aws_apigatewayv2_api.stage.id }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.api_errors
      }
      manager-failures = {
        description = "Executions failed because of the manager, not because of their job. The saved query 'what failed' lists them. Fix the cause, then rerun them with POST …/executions/{execution_id}/rerun."
        namespace   = local.metrics_namespace
        metric      = "ManagerFailed"
        dimensions  = { stage = var.stage }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.manager_failures
      }
      reaped = {
        description = "reap_executions timed out overdue executions that nothing else ended. A few are services that stopped reporting after a heartbeat with its own deadline. Many mean that somebody stopped Step Functions executions by hand, or that receive_callback or finish_execution fails: check their errors."
        namespace   = local.metrics_namespace
        metric      = "Reaped"
        dimensions  = { stage = var.stage }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.reaped
      }
      late-executions = {
        description = "Executions still run after the warn_after_seconds of their jobs. The event execution.late names each, and GET /executions?status=running shows warned_at_ms. They go on. Ask their services, and cancel what will not end."
        namespace   = local.metrics_namespace
        metric      = "Late"
        dimensions  = { stage = var.stage }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.late_executions # null leaves the alarm out
      }
      reconciled = {
        description = "Triggers did not match the jobs, and reconcile_schedules corrected them. CloudTrail shows who changed the rules (PutRule, DisableRule, DeleteRule, RemoveTargets) or the schedules of EventBridge Scheduler (UpdateSchedule, DeleteSchedule). If nobody did, check the errors of put_schedule and release_schedule."
        namespace   = local.metrics_namespace
        metric      = "Reconciled"
        dimensions  = { stage = var.stage }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.reconciled
      }
      missed-ticks = {
        description = "Triggers did not fire when they should have. Check for disabled rules and schedules, EventBridge's health in the region, and the dead-letter queue. Run the jobs without catch_up with POST …/executions."
        namespace   = local.metrics_namespace
        metric      = "MissedTicks"
        dimensions  = { stage = var.stage }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.missed_ticks
      }
      memory = {
        description = "A function uses nearly all of its memory; the value is in percent. The saved query 'cold starts' shows which function. Raise memory_size before Lambda ends it."
        namespace   = local.metrics_namespace
        metric      = "MemoryUsed"
        dimensions  = { stage = var.stage }
        statistic   = "Maximum"
        threshold   = var.alarm_thresholds.memory_pct
      }
    },
  )
}

resource "aws_sns_topic" "alarms" {
  name              = "${local.prefix}-alarms"
  kms_master_key_id = aws_kms_key.stage.arn
}

# https://repost.aws/knowledge-center/cloudwatch-receive-sns-for-alarm-trigger
data "aws_iam_policy_document" "alarms_topic" {
  statement {
    sid       = "LetAlarmsOfTheAccountPublish" # not only this stage's: alarms of subscriptions have other names
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${local.partition}:cloudwatch:${local.place}:alarm:*"]
    }
  }

  dynamic "statement" {
    for_each = var.require_tls ? [1] : []

    content {
      sid       = "RefusePublishingWithoutTls"
      effect    = "Deny"
      actions   = ["sns:Publish"]
      resources = [aws_sns_topic.alarms.arn]

      principals {
        type        = "*"
        identifiers = ["*"]
      }

      condition {
        test     = "Bool"
        variable = "aws:SecureTransport"
        values   = ["false"]
      }
    }
  }
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = data.aws_iam_policy_document.alarms_topic.json
}

resource "aws_cloudwatch_metric_alarm" "alarm" {
  for_each = { for key, alarm in local.alarms : key => alarm if alarm.threshold != null }

  alarm_name          = "${local.prefix}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 300
  evaluation_periods  = 1
  threshold           = each.value.threshold
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}
