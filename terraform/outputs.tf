output "prefix" {
  description = "What every name of this stage begins with."
  value       = local.prefix
}

output "api_url" {
  description = "Where the API is reached, without a slash at its end."
  value       = local.api_url
}

output "notifications_topic_arn" {
  description = "The SNS topic that services subscribe to."
  value       = aws_sns_topic.notifications.arn
}

output "events_topic_arn" {
  description = "The SNS topic that tells how executions went."
  value       = aws_sns_topic.events.arn
}

output "state_machine_arn" {
  description = "The state machine that runs one execution of one job."
  value       = module.run_job.arn
}

output "update_job_state_machine_arn" {
  description = "The Express state machine that makes one change of one job."
  value       = module.update_job.arn
}

output "jobs_table_name" {
  description = "The table of jobs."
  value       = aws_dynamodb_table.jobs.name
}

output "executions_table_name" {
  description = "The table of executions."
  value       = aws_dynamodb_table.executions.name
}

output "schedules_table_name" {
  description = "The table that counts the jobs of each schedule."
  value       = aws_dynamodb_table.schedules.name
}

output "services_table_name" {
  description = "The table of what services keep here: their webhook secrets, encrypted."
  value       = aws_dynamodb_table.services.name
}

output "tick_dead_letter_queue_url" {
  description = "The queue of ticks that could not be delivered or handled."
  value       = module.tick_dead_letters.url
}

output "upkeep_dead_letter_queue_url" {
  description = "The queue of the stage's own upkeep that its rules could not deliver."
  value       = module.upkeep_dead_letters.url
}

output "function_names" {
  description = "The Lambda function's name for each function."
  value       = { for key, function in local.functions : key => function.function_name }
}

output "alarms_topic_arn" {
  description = "The SNS topic that alarms are told to."
  value       = aws_sns_topic.alarms.arn
}

output "dashboard_url" {
  description = "The stage at a glance, in CloudWatch's console."
  value       = local.dashboard_url
}

output "table_arns" {
  description = "The ARN of each table, by what it holds."
  value = {
    jobs       = aws_dynamodb_table.jobs.arn
    executions = aws_dynamodb_table.executions.arn
    schedules  = aws_dynamodb_table.schedules.arn
    services   = aws_dynamodb_table.services.arn
  }
}

output "function_defaults" {
  description = "What the functions of the stage have in common; the modules beside it, such as event_archive, take it."
  value       = local.function_defaults
}
