output "version" {
  description = "Version of the project that the stage runs."
  value       = local.version
}

output "prefix" {
  description = "The prefix of every name in this stage."
  value       = local.prefix
}

output "api_url" {
  description = "URL of the API, without a trailing slash."
  value       = local.api_url
}

output "notifications_topic_arn" {
  description = "ARN of the SNS topic on which services receive notifications."
  value       = aws_sns_topic.notifications.arn
}

output "events_topic_arn" {
  description = "ARN of the SNS topic of events: outcomes of executions, changes of jobs."
  value       = aws_sns_topic.events.arn
}

output "state_machine_arn" {
  description = "ARN of the state machine that runs one execution of one job."
  value       = module.run_job.arn
}

output "express_state_machine_arn" {
  description = "ARN of the Express state machine that runs the jobs with workflow_type express."
  value       = module.run_job_express.arn
}

output "index_shards_to_read" {
  description = "The number of shards of the executions table's indexes that may hold a record."
  value       = local.index_shards_to_read
}

output "update_job_state_machine_arn" {
  description = "ARN of the Express state machine that makes one change of one job."
  value       = module.update_job.arn
}

output "jobs_table_name" {
  description = "Name of the table of jobs."
  value       = aws_dynamodb_table.jobs.name
}

output "executions_table_name" {
  description = "Name of the table of executions."
  value       = aws_dynamodb_table.executions.name
}

output "schedules_table_name" {
  description = "Name of the table that counts the jobs of each schedule."
  value       = aws_dynamodb_table.schedules.name
}

output "services_table_name" {
  description = "Name of the table of services, with their encrypted webhook secrets."
  value       = aws_dynamodb_table.services.name
}

output "limits_table_name" {
  description = "Name of the table of limits, with the executions that hold their slots."
  value       = aws_dynamodb_table.limits.name
}

output "tick_dead_letter_queue_url" {
  description = "URL of the dead-letter queue for ticks that could not be delivered or handled."
  value       = module.tick_dead_letters.url
}

output "upkeep_dead_letter_queue_url" {
  description = "URL of the dead-letter queue for upkeep runs that could not be delivered or failed."
  value       = module.upkeep_dead_letters.url
}

output "function_names" {
  description = "Name of each Lambda function, by its directory under functions/."
  value       = { for key, function in local.functions : key => function.function_name }
}

output "alarms_topic_arn" {
  description = "ARN of the SNS topic that receives the alarms."
  value       = aws_sns_topic.alarms.arn
}

output "dashboard_url" {
  description = "URL of the stage's dashboard in the CloudWatch console, or null if it has none."
  value       = var.dashboard ? local.dashboard_url : null
}

output "table_arns" {
  description = "ARN of each table, by its contents."
  value = {
    jobs       = aws_dynamodb_table.jobs.arn
    executions = aws_dynamodb_table.executions.arn
    schedules  = aws_dynamodb_table.schedules.arn
    services   = aws_dynamodb_table.services.arn
    limits     = aws_dynamodb_table.limits.arn
  }
}

output "function_defaults" {
  description = "Settings that every function of the stage shares. Modules beside the stage, such as event_archive, take them as input."
  value       = local.function_defaults
}
