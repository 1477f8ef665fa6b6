# The functions of a run, from the tick to the end of the execution.

module "start_due_executions" {
  source = "./modules/function"

  name        = "start_due_executions"
  defaults    = local.function_defaults
  description = "Starts one execution for each job that is due at a tick."
  policy      = data.aws_iam_policy_document.start_due_executions.json
  # The function invokes itself, and Lambda stops a chain of 16 invocations as a loop. Each invocation therefore does
  # as much as it can. With less memory it would have too little CPU: a tick of many jobs is split into parts for this
  # share of a core.
  # https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
  timeout     = 900
  memory_size = max(1024, var.memory_size)

  environment = merge(local.machines_environment, local.spread_environment, local.pacing_environment, {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
    SCHEDULES_TABLE  = aws_dynamodb_table.schedules.name
  })
}

data "aws_iam_policy_document" "start_due_executions" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_many_jobs.json,
    data.aws_iam_policy_document.find_due_jobs.json,
    data.aws_iam_policy_document.read_schedules.json,
    data.aws_iam_policy_document.update_schedules.json,
    data.aws_iam_policy_document.start_run_job.json,
    data.aws_iam_policy_document.read_many_executions.json,
    data.aws_iam_policy_document.invoke_start_due_executions.json,
    data.aws_iam_policy_document.delay_spread_starts.json,
    data.aws_iam_policy_document.encrypt_for_queues.json,
  ]

  # Lambda sends a tick that failed every retry in the function's name.
  statement {
    sid       = "KeepTicksThatFailed"
    actions   = ["sqs:SendMessage"]
    resources = [module.tick_dead_letters.arn]
  }
}

module "run_execution" {
  source = "./modules/function"

  name        = "run_execution"
  defaults    = local.function_defaults
  description = "Begins an execution, and notifies the service by SNS or webhook that its job is due."
  policy      = data.aws_iam_policy_document.run_execution.json
  timeout     = 90 # the service of a sync job has 60 s to answer
  network     = local.targets_network
  environment = merge(local.shards_environment, local.shards_to_read_environment, local.targets_environment, local.signing_environment, local.sweep_environment, local.settling_environment, local.waiting_environment, local.pacing_environment, local.run_execution_environment)
}

# It also settles what ends at once: skipped executions, sync jobs, notifications that were rejected.
data "aws_iam_policy_document" "run_execution" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.update_jobs.json,
    data.aws_iam_policy_document.read_schedules.json,
    data.aws_iam_policy_document.read_executions.json,
    data.aws_iam_policy_document.insert_executions.json,
    data.aws_iam_policy_document.update_executions.json,
    data.aws_iam_policy_document.find_open_executions.json,
    data.aws_iam_policy_document.answer_tasks.json,
    data.aws_iam_policy_document.admit_executions.json,
    data.aws_iam_policy_document.have_jobs_paused.json,
    data.aws_iam_policy_document.have_children_started.json,
    data.aws_iam_policy_document.publish_events.json,
    data.aws_iam_policy_document.publish_notifications.json,
    data.aws_iam_policy_document.encrypt_for_topics.json,
    data.aws_iam_policy_document.read_webhook_secrets.json,
    data.aws_iam_policy_document.decrypt_webhook_secrets.json,
  ]
}

module "finish_execution" {
  source = "./modules/function"

  name        = "finish_execution"
  defaults    = local.function_defaults
  description = "Settles an execution after a failure: frees the lock, publishes the event."
  policy      = data.aws_iam_policy_document.finish_execution.json

  environment = merge(local.shards_environment, local.sweep_environment, local.settling_environment, local.waiting_environment, {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
    EVENTS_TOPIC_ARN = aws_sns_topic.events.arn
    RETENTION_DAYS   = tostring(var.execution_retention_days)
  })
}

data "aws_iam_policy_document" "finish_execution" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.update_jobs.json,
    data.aws_iam_policy_document.read_executions.json,
    data.aws_iam_policy_document.insert_executions.json,
    data.aws_iam_policy_document.update_executions.json,
    data.aws_iam_policy_document.let_others_start.json,
    data.aws_iam_policy_document.have_jobs_paused.json,
    data.aws_iam_policy_document.have_children_started.json,
    data.aws_iam_policy_document.publish_events.json,
    data.aws_iam_policy_document.encrypt_for_topics.json,
    data.aws_iam_policy_document.keep_failed_upkeep.json,
    data.aws_iam_policy_document.encrypt_for_queues.json,
  ]
}

# An Express machine that cannot settle a failure leaves it to Lambda. Lambda invokes the function for up to six hours
# while it has no room, and retries an error twice. Then the failure waits as a dead letter.
resource "aws_lambda_function_event_invoke_config" "finish_execution" {
  function_name                = module.finish_execution.function_name
  maximum_event_age_in_seconds = 21600
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = module.upkeep_dead_letters.arn
    }
  }
}

module "start_waiting_executions" {
  source = "./modules/function"

  name        = "start_waiting_executions"
  defaults    = local.function_defaults
  description = "Starts executions that wait for a lock or under a limit, once their turn has come."
  policy      = data.aws_iam_policy_document.start_waiting_executions.json
  timeout     = 60

  environment = merge(local.shards_environment, local.shards_to_read_environment, local.machines_environment, local.sweep_environment, local.settling_environment, local.waiting_environment, local.pacing_environment, {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
    EVENTS_TOPIC_ARN = aws_sns_topic.events.arn
    RETENTION_DAYS   = tostring(var.execution_retention_days)
  })
}

# It also ends executions that need not wait any more, and cancels the running one if the job's overlap says so.
data "aws_iam_policy_document" "start_waiting_executions" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.update_jobs.json,
    data.aws_iam_policy_document.read_executions.json,
    data.aws_iam_policy_document.insert_executions.json,
    data.aws_iam_policy_document.update_executions.json,
    data.aws_iam_policy_document.end_waiting_executions.json,
    data.aws_iam_policy_document.let_others_start.json,
    data.aws_iam_policy_document.have_children_started.json,
    data.aws_iam_policy_document.start_run_job.json,
    data.aws_iam_policy_document.fail_tasks.json,
    data.aws_iam_policy_document.stop_run_job.json,
    data.aws_iam_policy_document.delay_spread_starts.json,
    data.aws_iam_policy_document.publish_events.json,
    data.aws_iam_policy_document.encrypt_for_topics.json,
    data.aws_iam_policy_document.keep_failed_upkeep.json,
    data.aws_iam_policy_document.encrypt_for_queues.json,
    data.aws_iam_policy_document.find_open_executions.json,
    data.aws_iam_policy_document.query_executions.json,
  ]
}

# The sweep asks for the same starts again. A dead letter only shows that the function failed.
resource "aws_lambda_function_event_invoke_config" "start_waiting_executions" {
  function_name                = module.start_waiting_executions.function_name
  maximum_event_age_in_seconds = 3600
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = module.upkeep_dead_letters.arn
    }
  }
}

# The functions that settle executions invoke this function, so that they need not start any themselves.
module "start_children" {
  source = "./modules/function"

  name        = "start_children"
  defaults    = local.function_defaults
  description = "Starts the jobs that run after one whose execution has ended."
  policy      = data.aws_iam_policy_document.start_children.json
  timeout     = 60 # a job may have 100 children

  environment = merge(local.machines_environment, {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
  })
}

data "aws_iam_policy_document" "start_children" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.update_jobs.json,
    data.aws_iam_policy_document.read_executions.json,
    data.aws_iam_policy_document.update_executions.json,
    data.aws_iam_policy_document.start_run_job.json,
    data.aws_iam_policy_document.keep_failed_upkeep.json,
    data.aws_iam_policy_document.encrypt_for_queues.json,
  ]
}

resource "aws_lambda_function_event_invoke_config" "start_children" {
  function_name                = module.start_children.function_name
  maximum_event_age_in_seconds = 21600
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = module.upkeep_dead_letters.arn
    }
  }
}

# The functions of the state machine of the version before. Running executions keep the definition with which they
# started, and go on with these functions. The next version removes them.
# https://docs.aws.amazon.com/step-functions/latest/apireference/API_UpdateStateMachine.html

module "begin_execution" {
  source = "./modules/function"

  name        = "begin_execution"
  defaults    = local.function_defaults
  description = "Begins an execution that the version before started."
  policy      = data.aws_iam_policy_document.begin_execution.json

  environment = merge(local.shards_environment, local.shards_to_read_environment, local.sweep_environment, {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
    SCHEDULES_TABLE  = aws_dynamodb_table.schedules.name
    EVENTS_TOPIC_ARN = aws_sns_topic.events.arn
    RETENTION_DAYS   = tostring(var.execution_retention_days)
  })
}

data "aws_iam_policy_document" "begin_execution" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.update_jobs.json,
    data.aws_iam_policy_document.read_schedules.json,
    data.aws_iam_policy_document.read_executions.json,
    data.aws_iam_policy_document.insert_executions.json,
    data.aws_iam_policy_document.find_open_executions.json,
    data.aws_iam_policy_document.publish_events.json,
    data.aws_iam_policy_document.encrypt_for_topics.json,
  ]
}

module "notify_service" {
  source = "./modules/function"

  name        = "notify_service"
  defaults    = local.function_defaults
  description = "Notifies the service of an execution that the version before started."
  policy      = data.aws_iam_policy_document.run_execution.json
  timeout     = 90
  network     = local.targets_network
  environment = merge(local.shards_environment, local.shards_to_read_environment, local.targets_environment, local.signing_environment, local.sweep_environment, local.settling_environment, local.waiting_environment, local.pacing_environment, local.run_execution_environment)
}
