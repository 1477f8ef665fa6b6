# The outputs of the stage, for commands such as `terraform output -raw api_url`. Each environment links to this file.

output "version" {
  description = "Version of the project that the stage runs."
  value       = module.stage.version
}

output "prefix" {
  description = "The prefix of every name in this stage."
  value       = module.stage.prefix
}

output "api_url" {
  description = "URL of the API, without a trailing slash."
  value       = module.stage.api_url
}

output "notifications_topic_arn" {
  description = "ARN of the SNS topic on which services receive notifications."
  value       = module.stage.notifications_topic_arn
}

output "events_topic_arn" {
  description = "ARN of the SNS topic of events: outcomes of executions, changes of jobs."
  value       = module.stage.events_topic_arn
}

output "state_machine_arn" {
  description = "ARN of the state machine that runs one execution of one job."
  value       = module.stage.state_machine_arn
}

output "express_state_machine_arn" {
  description = "ARN of the Express state machine that runs the jobs with workflow_type express."
  value       = module.stage.express_state_machine_arn
}

output "index_shards_to_read" {
  description = "The number of shards of the executions table's indexes that may hold a record."
  value       = module.stage.index_shards_to_read
}

output "update_job_state_machine_arn" {
  description = "ARN of the Express state machine that makes one change of one job."
  value       = module.stage.update_job_state_machine_arn
}

output "jobs_table_name" {
  description = "Name of the table of jobs."
  value       = module.stage.jobs_table_name
}

output "executions_table_name" {
  description = "Name of the table of executions."
  value       = module.stage.executions_table_name
}

output "schedules_table_name" {
  description = "Name of the table that counts the jobs of each schedule."
  value       = module.stage.schedules_table_name
}

output "services_table_name" {
  description = "Name of the table of services, with their encrypted webhook secrets."
  value       = module.stage.services_table_name
}

output "limits_table_name" {
  description = "Name of the table of limits, with the executions that hold their slots."
  value       = module.stage.limits_table_name
}

output "tick_dead_letter_queue_url" {
  description = "URL of the dead-letter queue for ticks that could not be delivered or handled."
  value       = module.stage.tick_dead_letter_queue_url
}

output "upkeep_dead_letter_queue_url" {
  description = "URL of the dead-letter queue for upkeep runs that could not be delivered or failed."
  value       = module.stage.upkeep_dead_letter_queue_url
}

output "function_names" {
  description = "Name of each Lambda function, by its directory under functions/."
  value       = module.stage.function_names
}

output "alarms_topic_arn" {
  description = "ARN of the SNS topic that receives the alarms."
  value       = module.stage.alarms_topic_arn
}

output "dashboard_url" {
  description = "URL of the stage's dashboard in the CloudWatch console, or null if it has none."
  value       = module.stage.dashboard_url
}

output "table_arns" {
  description = "ARN of each table, by its contents."
  value       = module.stage.table_arns
}

output "function_defaults" {
  description = "Settings that every function of the stage shares. Modules beside the stage, such as event_archive, take them as input."
  value       = module.stage.function_defaults
}
