# A queue for messages that SNS could not deliver after its retries.
# https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html

locals {
  makes_dead_letters    = var.dead_letter_queue == null
  dead_letter_queue_arn = local.makes_dead_letters ? aws_sqs_queue.dead_letters[0].arn : var.dead_letter_queue.arn
}

resource "aws_sqs_queue" "dead_letters" {
  count = local.makes_dead_letters ? 1 : 0

  name                      = coalesce(var.dead_letter_queue_name, "${var.name}-dead-letters")
  kms_master_key_id         = var.kms_key_arn
  message_retention_seconds = 14 * 24 * 60 * 60
}

resource "aws_sqs_queue_policy" "dead_letters" {
  count = local.makes_dead_letters ? 1 : 0

  queue_url = aws_sqs_queue.dead_letters[0].id
  policy    = data.aws_iam_policy_document.queue["dead_letters"].json
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  count = local.makes_dead_letters && var.alarms_topic != null ? 1 : 0

  alarm_name          = aws_sqs_queue.dead_letters[0].name
  alarm_description   = coalesce(var.alarm_description, "SNS could not deliver to ${local.endpoint} and keeps the messages in ${aws_sqs_queue.dead_letters[0].name} for 14 days. Check that the endpoint exists, lets the topic in (queue policy and key, or function permission) and answers 2xx. Then move the messages on from the queue.")
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead_letters[0].name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.alarms_topic.arn]
  ok_actions          = [var.alarms_topic.arn]
}
