# What the stage says, said again, so that `terraform output -raw api_url` and the like work. Every environment links here.

output "prefix" {
  description = "What every name of this stage begins with."
  value       = module.stage.prefix
}

output "api_url" {
  description = "Where the API is reached, without a slash at its end."
  value       = module.stage.api_url
}

output "notifications_topic_arn" {
  description = "The SNS topic that services subscribe to."
  value       = module.stage.notifications_topic_arn
}

output "events_topic_arn" {
  description = "The SNS topic that tells how executions went."
  value       = module.stage.events_topic_arn
}

output "state_machine_arn" {
  description = "The state machine that runs one execution of one job."
  value       = module.stage.state_machine_arn
}

output "update_job_state_machine_arn" {
  description = "The Express state machine that makes one change of one job."
  value       = module.stage.update_job_state_machine_arn
}

output "jobs_table_name" {
  description = "The table of jobs."
  value       = module.stage.jobs_table_name
}

output "executions_table_name" {
  description = "The table of executions."
  value       = module.stage.executions_table_name
}

output "schedules_table_name" {
  description = "The table that counts the jobs of each schedule."
  value       = module.stage.schedules_table_name
}

output "services_table_name" {
  description = "The table of what services keep here: their webhook secrets, encrypted."
  value       = module.stage.services_table_name
}

output "tick_dead_letter_queue_url" {
  description = "The queue of ticks that could not be delivered or handled."
  value       = module.stage.tick_dead_letter_queue_url
}

output "upkeep_dead_letter_queue_url" {
  description = "The queue of the stage's own upkeep that its rules could not deliver."
  value       = module.stage.upkeep_dead_letter_queue_url
}

output "function_names" {
  description = "The Lambda function's name for each function."
  value       = module.stage.function_names
}

output "alarms_topic_arn" {
  description = "The SNS topic that alarms are told to."
  value       = module.stage.alarms_topic_arn
}

output "dashboard_url" {
  description = "The stage at a glance, in CloudWatch's console."
  value       = module.stage.dashboard_url
}

output "table_arns" {
  description = "The ARN of each table, by what it holds."
  value       = module.stage.table_arns
}

output "function_defaults" {
  description = "What the functions of the stage have in common; the modules beside it, such as event_archive, take it."
  value       = module.stage.function_defaults
}
