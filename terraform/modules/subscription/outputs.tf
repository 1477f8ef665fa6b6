output "arn" {
  description = "ARN of the subscription; of a mail address or URL that has not confirmed yet, only that it is pending."
  value       = aws_sns_topic_subscription.subscriber.arn
}

output "dead_letter_queue_arn" {
  description = "ARN of the queue of what SNS could not deliver."
  value       = local.dead_letter_queue_arn
}

output "dead_letter_queue_name" {
  description = "Name of the queue of what SNS could not deliver."
  value       = split(":", local.dead_letter_queue_arn)[5]
}

output "dead_letter_queue_url" {
  description = "URL of the queue of what SNS could not deliver, if the module made it."
  value       = one(aws_sqs_queue.dead_letters[*].id)
}

output "queue_policy_json" {
  description = "What the policy of the subscribed queue must hold, for whoever sets that policy."
  value       = one(data.aws_iam_policy_document.subscriber[*].json)
}
