# Besides the one on dead letters, which the subscription brings.

locals {
  alarms = {
    late = {
      description = "Events wait in ${local.name} before they are archived, in seconds. Look at the errors and throttles of ${module.archive_events.function_name}, and whether Firehose throttles it; nothing is lost for 14 days."
      namespace   = "AWS/SQS"
      metric      = "ApproximateAgeOfOldestMessage"
      dimensions  = { QueueName = aws_sqs_queue.events.name }
    }
    undelivered = {
      description = "The oldest event in the delivery stream ${local.name} is that many seconds old: Firehose does not get it into the bucket. ${aws_cloudwatch_log_group.delivery.name} says why, mostly the bucket's or the key's policy. Firehose tries for 24 hours; after that, events are lost."
      namespace   = "AWS/Firehose"
      metric      = "DeliveryToS3.DataFreshness"
      dimensions  = { DeliveryStreamName = aws_kinesis_firehose_delivery_stream.archive.name }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "alarm" {
  for_each = local.alarms

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  threshold           = var.alarm_age_seconds
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.alarms_topic_arn]
  ok_actions          = [var.alarms_topic_arn]
}
