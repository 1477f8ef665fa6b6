# The function that replays, if there is a target. Its trigger is on only while there is a time range.

locals {
  replay_timeout = 60
}

module "replay_events" {
  source = "../function"
  count  = local.can_replay ? 1 : 0

  name        = "replay_events"
  defaults    = var.function_defaults
  description = "Sends the events of a time range to a target again, and moves every event to the second queue."
  policy      = data.aws_iam_policy_document.replay_events[0].json
  timeout     = local.replay_timeout
  concurrency = var.concurrency

  environment = {
    ASIDE_QUEUE_URL      = module.subscription.dead_letter_queue_url
    RAW_MESSAGE_DELIVERY = tostring(try(var.target.raw_message_delivery, true))
    REPLAY_SINCE         = try(var.replay.since, "none")
    REPLAY_UNTIL         = try(var.replay.until, "none")
    TARGET_ARN           = try(var.target.arn, "none")
  }
}

data "aws_iam_policy_document" "replay_events" {
  count = local.can_replay ? 1 : 0

  statement {
    sid       = "TakeEventsFromTheQueue"
    actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
    resources = [local.queue_arn]
  }

  statement {
    sid       = "PutEventsAside"
    actions   = ["sqs:SendMessage"]
    resources = [module.subscription.dead_letter_queue_arn]
  }

  statement {
    sid       = "SendEventsToTheTarget"
    actions   = local.target_actions[local.target_kind]
    resources = [var.target.arn]
  }

  statement {
    sid       = "DecryptAndEncryptEvents"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = distinct(compact([local.kms_key_arn, var.target.kms_key_arn]))
  }
}

resource "aws_lambda_event_source_mapping" "replay" {
  count = local.can_replay ? 1 : 0

  event_source_arn = aws_sqs_queue.events.arn
  function_name    = module.replay_events[0].arn
  batch_size       = 10
  enabled          = local.is_on
}

resource "aws_cloudwatch_metric_alarm" "failing" {
  count = local.can_replay ? 1 : 0

  alarm_name          = "${local.name}-failing"
  alarm_description   = "A replay fails. The log of ${module.replay_events[0].function_name} says why, usually the target's policy or key. Fix it: failed events are retried every 6 minutes for 10 hours. After that, SQS moves them to the second queue without sending them. End the replay then, move the events back, and replay again."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = module.replay_events[0].function_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.alarms_topic_arn]
  ok_actions          = [var.alarms_topic_arn]
}
