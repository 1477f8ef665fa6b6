# What somebody must look at. Each alarm's description says what to do. They cost $0.10 a month for each metric that they
# watch, a sum counting its terms; so what fails behind the API is one alarm on the API's 5xx.
# https://aws.amazon.com/cloudwatch/pricing/

locals {
  # Where what could not be delivered or handled waits; see `make redrive`.
  dead_letter_queues = {
    tick   = module.tick_dead_letters.name
    upkeep = module.upkeep_dead_letters.name
  }

  # Functions that nobody waits for, whose errors no caller sees. Not notify_service: it fails where a service
  # cannot be reached, which is seen as the job's failure.
  unattended_functions = [
    module.start_due_executions.function_name,
    module.begin_execution.function_name,
    module.finish_execution.function_name,
    module.reap_executions.function_name,
    module.reconcile_schedules.function_name,
  ]

  alarms = merge(
    {
      for key, queue in local.dead_letter_queues : "${key}-dead-letters" => {
        description = "Something could not be delivered or handled, and waits in ${queue}. Find out why in the messages (ERROR_CODE, responsePayload) and in the functions' logs, mend it, then: make redrive STAGE=${var.stage}"
        namespace   = "AWS/SQS"
        metric      = "ApproximateNumberOfMessagesVisible"
        dimensions  = { QueueName = queue }
        statistic   = "Maximum"
        threshold   = var.alarm_thresholds.dead_letters
      }
    },
    {
      late-ticks = {
        description = "Ticks wait before they are handled, in milliseconds. Look at throttles and errors of start_due_executions, and at the account's Lambda concurrency; raise its quota if it is used up."
        namespace   = "AWS/Lambda"
        metric      = "AsyncEventAge"
        dimensions  = { FunctionName = module.start_due_executions.function_name }
        statistic   = "Maximum"
        threshold   = var.alarm_thresholds.tick_age_ms
      }
      throttled-ticks = {
        description = "Lambda throttles start_due_executions; ticks are tried again for an hour, then wait in the dead-letter queue. Raise the account's Lambda concurrency, or spread the schedules."
        namespace   = "AWS/Lambda"
        metric      = "Throttles"
        dimensions  = { FunctionName = module.start_due_executions.function_name }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.throttled_ticks
      }
      lost-ticks = {
        description = "A tick that failed could not be kept in the dead-letter queue either, and is lost. Check the queue, its policy and the stage's key; run the jobs of the schedule by POST …/executions: catch_up sees only ticks that never reached the function."
        namespace   = "AWS/Lambda"
        metric      = "DestinationDeliveryFailures"
        dimensions  = { FunctionName = module.start_due_executions.function_name }
        statistic   = "Sum"
        threshold   = 1
      }
      throttled-executions = {
        description = "Step Functions throttles the state transitions of executions, so they are late. Have the quota of StateTransition raised, or spread the schedules."
        namespace   = "AWS/States"
        metric      = "ExecutionThrottled"
        dimensions  = { StateMachineArn = local.run_job_arn }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.throttled_executions
      }
      api-errors = {
        description = "The API answers 5xx. The saved query 'errors' names the function and the error; services repeat their callbacks, and callers may repeat any request."
        namespace   = "AWS/ApiGateway"
        metric      = "5xx"
        dimensions  = { ApiId = aws_apigatewayv2_api.stage.id }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.api_errors
      }
      manager-failures = {
        description = "Executions failed by the manager's fault, not their job's. The saved query 'what failed' lists them; rerun them when the cause is mended: POST …/executions/{execution_id}/rerun."
        namespace   = local.metrics_namespace
        metric      = "ManagerFailed"
        dimensions  = { stage = var.stage }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.manager_failures
      }
      reaped = {
        description = "Executions that nothing else ended any more were ended as timeout. One is a service that fell silent under a deadline of its own; many mean that Step Functions executions were stopped by hand, or that finish_execution fails: look at its errors."
        namespace   = local.metrics_namespace
        metric      = "Reaped"
        dimensions  = { stage = var.stage }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.reaped
      }
      reconciled = {
        description = "Rules were not as the jobs want them, and were put right. Look in CloudTrail who changed them (PutRule, DisableRule, DeleteRule, RemoveTargets); if nobody did, look at the errors of put_schedule and release_schedule."
        namespace   = local.metrics_namespace
        metric      = "Reconciled"
        dimensions  = { stage = var.stage }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.reconciled
      }
      missed-ticks = {
        description = "Rules did not fire when they should have. Look for rules that were disabled, for EventBridge's state in the region, and in the dead-letter queue; jobs without catch_up are run by POST …/executions."
        namespace   = local.metrics_namespace
        metric      = "MissedTicks"
        dimensions  = { stage = var.stage }
        statistic   = "Sum"
        threshold   = var.alarm_thresholds.missed_ticks
      }
      memory = {
        description = "A function is near the end of its memory, in percent. The dashboard shows which; raise memory_size before Lambda ends it."
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
    sid       = "LetAlarmsOfTheAccountPublish" # those of subscriptions have names of their own
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
  for_each = local.alarms

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

# A sum of at most 10 metrics: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-limits.html
resource "aws_cloudwatch_metric_alarm" "failing_functions" {
  alarm_name          = "${local.prefix}-failing-functions"
  alarm_description   = "Functions that nobody waits for fail. The dashboard shows which, the saved query 'errors' why. What failed is tried again by itself; in the end ticks wait in the dead-letter queue, and executions fail as the manager's fault."
  evaluation_periods  = 1
  threshold           = var.alarm_thresholds.function_errors
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "errors"
    label       = "Errors"
    expression  = "SUM(METRICS())"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = local.unattended_functions

    content {
      id = "function${metric_query.key}"

      metric {
        namespace   = "AWS/Lambda"
        metric_name = "Errors"
        dimensions  = { FunctionName = metric_query.value }
        stat        = "Sum"
        period      = 300
      }
    }
  }
}
