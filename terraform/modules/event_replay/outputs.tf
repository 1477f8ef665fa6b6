output "queue_arn" {
  description = "ARN of the queue that keeps the events."
  value       = aws_sqs_queue.events.arn
}

output "queue_url" {
  description = "URL of the queue that keeps the events; when it is nearly empty, a replay is done."
  value       = aws_sqs_queue.events.id
}

output "aside_queue_arn" {
  description = "ARN of the queue in which a replay puts what it has read."
  value       = module.subscription.dead_letter_queue_arn
}

output "aside_queue_url" {
  description = "URL of the queue in which a replay puts what it has read."
  value       = module.subscription.dead_letter_queue_url
}
