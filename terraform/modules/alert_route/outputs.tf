output "function_name" {
  description = "Name of the function that tells people. Its log says what it delivered, and what it could not deliver."
  value       = module.route_alerts.function_name
}

output "queue_arn" {
  description = "ARN of the queue of events and alarms."
  value       = aws_sqs_queue.signals.arn
}

output "queue_url" {
  description = "URL of the queue of events and alarms."
  value       = aws_sqs_queue.signals.id
}

output "dead_letter_queue_arn" {
  description = "ARN of the dead-letter queue."
  value       = aws_sqs_queue.dead_letters.arn
}

output "dead_letter_queue_url" {
  description = "URL of the dead-letter queue."
  value       = aws_sqs_queue.dead_letters.id
}

output "table_name" {
  description = "Name of the table of open problems."
  value       = aws_dynamodb_table.alerts.name
}
