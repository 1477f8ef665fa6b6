# The module subscription adds the alarm on dead letters.

locals {
  alarms = {
    late = {
      description = "Events wait in ${local.name} before they are archived; the value is in seconds. Check the errors and throttles of ${module.archive_events.function_name}, and whether Firehose throttles it. Nothing is lost for 14 days."
      namespace   = "AWS/SQS"
      metric      = "ApproximateAgeOfOldestMessage"
      dimensions  = { QueueName = aws_sqs_queue.events.name }
    }
    undelivered = {
      description = "Firehose cannot deliver events from ${local.name} to the bucket; the value is the age of the oldest event in seconds. The log group ${aws_cloudwatch_log_group.delivery.name} says why, usually the policy of the bucket or of the key. Firehose retries for 24 hours. After that, events are lost."
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
