output "queue_arn" {
  description = "ARN of the queue that keeps the events."
  value       = aws_sqs_queue.events.arn
}

output "queue_url" {
  description = "URL of the queue that keeps the events. A replay is done when the queue is nearly empty."
  value       = aws_sqs_queue.events.id
}

output "aside_queue_arn" {
  description = "ARN of the second queue, to which a replay moves the events."
  value       = module.subscription.dead_letter_queue_arn
}

output "aside_queue_url" {
  description = "URL of the second queue, to which a replay moves the events."
  value       = module.subscription.dead_letter_queue_url
}
