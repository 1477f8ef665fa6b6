output "archive" {
  description = "Location of the events. Pass it to the module event_search."
  value = {
    bucket         = aws_s3_bucket.archive.bucket
    events_prefix  = local.events_prefix
    retention_days = var.retention_days
  }
}

output "queue_arn" {
  description = "ARN of the queue of events that are not archived yet."
  value       = aws_sqs_queue.events.arn
}

output "dead_letter_queue_arn" {
  description = "ARN of the dead-letter queue for events that could not be archived."
  value       = module.subscription.dead_letter_queue_arn
}

output "delivery_stream_name" {
  description = "Name of the Firehose delivery stream."
  value       = aws_kinesis_firehose_delivery_stream.archive.name
}
