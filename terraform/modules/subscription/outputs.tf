output "arn" {
  description = "ARN of the subscription. For a mail address or URL that is not confirmed yet, the text that it is pending."
  value       = aws_sns_topic_subscription.subscriber.arn
}

output "dead_letter_queue_arn" {
  description = "ARN of the dead-letter queue."
  value       = local.dead_letter_queue_arn
}

output "dead_letter_queue_name" {
  description = "Name of the dead-letter queue."
  value       = split(":", local.dead_letter_queue_arn)[5]
}

output "dead_letter_queue_url" {
  description = "URL of the dead-letter queue, if the module created it."
  value       = one(aws_sqs_queue.dead_letters[*].id)
}

output "queue_policy_json" {
  description = "Statements that the policy of the subscribed queue must contain, if you set that policy yourself."
  value       = try(data.aws_iam_policy_document.queue["subscriber"].json, null)
}
