# The functions behind the API's routes for executions.

module "list_executions" {
  source = "./modules/function"

  name        = "list_executions"
  defaults    = local.function_defaults
  description = "Lists and searches executions, newest first."
  policy      = data.aws_iam_policy_document.list_executions.json

  environment = merge(local.shards_to_read_environment, {
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
    PAGING_KEY_ARN   = aws_kms_key.stage.arn
    RETENTION_DAYS   = tostring(var.execution_retention_days)
  })
}

data "aws_iam_policy_document" "list_executions" {
  source_policy_documents = [
    data.aws_iam_policy_document.search_executions.json,
    data.aws_iam_policy_document.seal_page_tokens.json,
  ]
}

module "get_execution" {
  source = "./modules/function"

  name        = "get_execution"
  defaults    = local.function_defaults
  description = "Returns one execution with its result."
  policy      = data.aws_iam_policy_document.get_execution.json

  environment = {
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
  }
}

data "aws_iam_policy_document" "get_execution" {
  source_policy_documents = [data.aws_iam_policy_document.read_executions.json]
}

module "get_chain" {
  source = "./modules/function"

  name        = "get_chain"
  defaults    = local.function_defaults
  description = "Returns the executions before and after one in its chain."
  policy      = data.aws_iam_policy_document.get_chain.json
  timeout     = 29 # it may read 200 records

  environment = {
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
  }
}

data "aws_iam_policy_document" "get_chain" {
  source_policy_documents = [data.aws_iam_policy_document.read_executions.json]
}

module "receive_callback" {
  source = "./modules/function"

  name        = "receive_callback"
  defaults    = local.function_defaults
  description = "Records a service's callback; at the end settles the execution and ends its task."
  policy      = data.aws_iam_policy_document.receive_callback.json
  concurrency = var.callback_concurrency

  environment = merge(local.sweep_environment, local.settling_environment, local.waiting_environment, {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
    EVENTS_TOPIC_ARN = aws_sns_topic.events.arn
    RETENTION_DAYS   = tostring(var.execution_retention_days)
  })
}

data "aws_iam_policy_document" "receive_callback" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.update_jobs.json,
    data.aws_iam_policy_document.read_executions.json,
    data.aws_iam_policy_document.update_executions.json,
    data.aws_iam_policy_document.answer_tasks.json,
    data.aws_iam_policy_document.let_others_start.json,
    data.aws_iam_policy_document.have_jobs_paused.json,
    data.aws_iam_policy_document.have_children_started.json,
    data.aws_iam_policy_document.publish_events.json,
    data.aws_iam_policy_document.encrypt_for_topics.json,
  ]
}

module "start_execution" {
  source = "./modules/function"

  name        = "start_execution"
  defaults    = local.function_defaults
  description = "Runs a job now."
  policy      = data.aws_iam_policy_document.start_execution.json

  environment = merge(local.shards_environment, local.shards_to_read_environment, local.machines_environment, local.sweep_environment, local.waiting_environment, local.pacing_environment, {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
    RETENTION_DAYS   = tostring(var.execution_retention_days)
  })
}

data "aws_iam_policy_document" "start_execution" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.update_jobs.json,
    data.aws_iam_policy_document.read_executions.json,
    data.aws_iam_policy_document.insert_executions.json,
    data.aws_iam_policy_document.find_open_executions.json,
    data.aws_iam_policy_document.admit_executions.json,
    data.aws_iam_policy_document.start_run_job.json,
  ]
}

module "rerun_execution" {
  source = "./modules/function"

  name        = "rerun_execution"
  defaults    = local.function_defaults
  description = "Runs a job again with its original payload."
  policy      = data.aws_iam_policy_document.rerun_execution.json

  environment = merge(local.shards_environment, local.shards_to_read_environment, local.machines_environment, local.sweep_environment, local.waiting_environment, local.pacing_environment, {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
    RETENTION_DAYS   = tostring(var.execution_retention_days)
  })
}

data "aws_iam_policy_document" "rerun_execution" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.update_jobs.json,
    data.aws_iam_policy_document.read_executions.json,
    data.aws_iam_policy_document.insert_executions.json,
    data.aws_iam_policy_document.find_open_executions.json,
    data.aws_iam_policy_document.update_executions.json,
    data.aws_iam_policy_document.admit_executions.json,
    data.aws_iam_policy_document.start_run_job.json,
  ]
}

module "rerun_executions" {
  source = "./modules/function"

  name        = "rerun_executions"
  defaults    = local.function_defaults
  description = "Reruns the executions of a search, or those that are named."
  policy      = data.aws_iam_policy_document.rerun_executions.json
  timeout     = 29                         # API Gateway waits 30 s at most
  memory_size = max(1024, var.memory_size) # less would have too little CPU to handle hundreds of executions in this time

  environment = merge(local.shards_environment, local.shards_to_read_environment, local.machines_environment, local.sweep_environment, local.waiting_environment, local.pacing_environment, {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
    PAGING_KEY_ARN   = aws_kms_key.stage.arn
    RETENTION_DAYS   = tostring(var.execution_retention_days)
  })
}

data "aws_iam_policy_document" "rerun_executions" {
  source_policy_documents = [
    data.aws_iam_policy_document.rerun_execution.json,
    data.aws_iam_policy_document.search_executions.json,
    data.aws_iam_policy_document.seal_page_tokens.json,
  ]
}

module "cancel_execution" {
  source = "./modules/function"

  name        = "cancel_execution"
  defaults    = local.function_defaults
  description = "Cancels an execution that runs or waits."
  policy      = data.aws_iam_policy_document.cancel_execution.json

  environment = merge(local.settling_environment, local.waiting_environment, {
    JOBS_TABLE        = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE  = aws_dynamodb_table.executions.name
    EVENTS_TOPIC_ARN  = aws_sns_topic.events.arn
    RETENTION_DAYS    = tostring(var.execution_retention_days)
    STATE_MACHINE_ARN = local.run_job_arn
  })
}

data "aws_iam_policy_document" "cancel_execution" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.update_jobs.json,
    data.aws_iam_policy_document.read_executions.json,
    data.aws_iam_policy_document.update_executions.json,
    data.aws_iam_policy_document.end_waiting_executions.json,
    data.aws_iam_policy_document.let_others_start.json,
    data.aws_iam_policy_document.fail_tasks.json,
    data.aws_iam_policy_document.stop_run_job.json,
    data.aws_iam_policy_document.have_children_started.json,
    data.aws_iam_policy_document.publish_events.json,
    data.aws_iam_policy_document.encrypt_for_topics.json,
  ]
}

module "cancel_executions" {
  source = "./modules/function"

  name        = "cancel_executions"
  defaults    = local.function_defaults
  description = "Cancels the running executions of a search, or those that are named."
  policy      = data.aws_iam_policy_document.cancel_executions.json
  timeout     = 29
  memory_size = max(1024, var.memory_size) # as of rerun_executions

  environment = merge(local.shards_to_read_environment, local.settling_environment, local.waiting_environment, {
    JOBS_TABLE        = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE  = aws_dynamodb_table.executions.name
    EVENTS_TOPIC_ARN  = aws_sns_topic.events.arn
    PAGING_KEY_ARN    = aws_kms_key.stage.arn
    RETENTION_DAYS    = tostring(var.execution_retention_days)
    STATE_MACHINE_ARN = local.run_job_arn
  })
}

data "aws_iam_policy_document" "cancel_executions" {
  source_policy_documents = [
    data.aws_iam_policy_document.cancel_execution.json,
    data.aws_iam_policy_document.search_executions.json,
    data.aws_iam_policy_document.seal_page_tokens.json,
  ]
}

module "backfill_job" {
  source = "./modules/function"

  name        = "backfill_job"
  defaults    = local.function_defaults
  description = "Finds the times that a job missed, and has start_due_executions start them."
  policy      = data.aws_iam_policy_document.backfill_job.json
  timeout     = 29
  memory_size = max(1024, var.memory_size) # it may read the keys of 20,000 executions

  environment = {
    JOBS_TABLE                = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE          = aws_dynamodb_table.executions.name
    SCHEDULES_TABLE           = aws_dynamodb_table.schedules.name
    RETENTION_DAYS            = tostring(var.execution_retention_days)
    MISSED_TICK_GRACE_SECONDS = tostring(var.missed_tick_grace_seconds)
    START_DUE_EXECUTIONS_ARN  = local.start_due_arn
  }
}

data "aws_iam_policy_document" "backfill_job" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.read_schedules.json,
    data.aws_iam_policy_document.query_executions.json,
    data.aws_iam_policy_document.invoke_start_due_executions.json,
  ]
}
