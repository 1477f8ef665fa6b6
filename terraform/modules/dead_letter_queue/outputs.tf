output "arn" {
  description = "ARN of the queue."
  value       = aws_sqs_queue.queue.arn
}

output "name" {
  description = "Name of the queue."
  value       = aws_sqs_queue.queue.name
}

output "url" {
  description = "URL of the queue."
  value       = aws_sqs_queue.queue.id
}
