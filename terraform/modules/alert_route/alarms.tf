locals {
  alarms = {
    undelivered = {
      description = "Alerts of the route ${var.name} could not be delivered for ${var.alarm_age_seconds} seconds or longer; the value is in milliseconds. The log of ${module.route_alerts.function_name} says why: the destination does not answer, or refuses the URL or key in the parameter ${var.parameter_name}. Correct the parameter; the function reads it again with the next try."
      namespace   = var.function_defaults.metrics_namespace
      metric      = "AlertUndelivered"
      dimensions  = { stage = var.function_defaults.stage, route = var.name }
      period      = 900
      threshold   = var.alarm_age_seconds * 1000
    }
    dead-letters = {
      description = "Alerts of the route ${var.name} were given up after hours of tries, and wait in ${aws_sqs_queue.dead_letters.name} for 14 days. The log of ${module.route_alerts.function_name} says why. Correct the cause, then run: aws sqs start-message-move-task --source-arn ${aws_sqs_queue.dead_letters.arn} --destination-arn ${aws_sqs_queue.signals.arn}"
      namespace   = "AWS/SQS"
      metric      = "ApproximateNumberOfMessagesVisible"
      dimensions  = { QueueName = aws_sqs_queue.dead_letters.name }
      period      = 300
      threshold   = 1
    }
  }
}

# Subscribe a mail address to the alarms topic, too: an alarm about a route cannot leave by this route.
resource "aws_cloudwatch_metric_alarm" "alarm" {
  for_each = local.alarms

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = "Maximum"
  period              = each.value.period
  evaluation_periods  = 1
  threshold           = each.value.threshold
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.alarms_topic_arn]
  ok_actions          = [var.alarms_topic_arn]
}
