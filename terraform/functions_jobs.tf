# The functions behind the API's routes for jobs.

module "put_job" {
  source = "./modules/function"

  name        = "put_job"
  defaults    = local.function_defaults
  description = "Creates or replaces a job with the update-job machine."
  policy      = data.aws_iam_policy_document.put_job.json
  timeout     = 29 # API Gateway waits 30 s at most

  environment = {
    JOBS_TABLE                   = aws_dynamodb_table.jobs.name
    UPDATE_JOB_STATE_MACHINE_ARN = local.update_job_arn
  }
}

data "aws_iam_policy_document" "put_job" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.run_update_job.json,
  ]
}

module "get_job" {
  source = "./modules/function"

  name        = "get_job"
  defaults    = local.function_defaults
  description = "Returns one job."
  policy      = data.aws_iam_policy_document.get_job.json

  environment = {
    JOBS_TABLE = aws_dynamodb_table.jobs.name
  }
}

data "aws_iam_policy_document" "get_job" {
  source_policy_documents = [data.aws_iam_policy_document.read_jobs.json]
}

module "delete_job" {
  source = "./modules/function"

  name        = "delete_job"
  defaults    = local.function_defaults
  description = "Deletes a job, and its trigger if no other job shares it. Keeps the history."
  policy      = data.aws_iam_policy_document.change_jobs.json

  environment = merge(local.triggers_environment, local.changes_environment)
}

module "list_jobs" {
  source = "./modules/function"

  name        = "list_jobs"
  defaults    = local.function_defaults
  description = "Lists and searches jobs."
  policy      = data.aws_iam_policy_document.list_jobs.json

  environment = {
    JOBS_TABLE     = aws_dynamodb_table.jobs.name
    PAGING_KEY_ARN = aws_kms_key.stage.arn
  }
}

data "aws_iam_policy_document" "list_jobs" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_many_jobs.json,
    data.aws_iam_policy_document.seal_page_tokens.json,
  ]

  statement {
    sid     = "FindJobs"
    actions = ["dynamodb:Query"]
    resources = [
      "${aws_dynamodb_table.jobs.arn}/index/by_guid",
      "${aws_dynamodb_table.jobs.arn}/index/by_schedule",
      "${aws_dynamodb_table.jobs.arn}/index/catalog",
    ]
  }
}

module "pause_job" {
  source = "./modules/function"

  name        = "pause_job"
  defaults    = local.function_defaults
  description = "Pauses a job until a given time, or until somebody resumes it."
  policy      = data.aws_iam_policy_document.change_jobs.json

  environment = merge(local.triggers_environment, local.changes_environment)
}

module "resume_job" {
  source = "./modules/function"

  name        = "resume_job"
  defaults    = local.function_defaults
  description = "Resumes a paused job."
  policy      = data.aws_iam_policy_document.change_jobs.json

  environment = merge(local.triggers_environment, local.changes_environment)
}

# Terraform invokes this function (jobs_as_code.tf). The API has no route to it.
module "manage_job" {
  source = "./modules/function"

  name        = "manage_job"
  defaults    = local.function_defaults
  description = "Puts or deletes a job that is defined in Terraform."
  policy      = data.aws_iam_policy_document.manage_job.json
  timeout     = 29

  environment = merge(local.triggers_environment, local.changes_environment, {
    UPDATE_JOB_STATE_MACHINE_ARN = local.update_job_arn
  })
}

data "aws_iam_policy_document" "manage_job" {
  source_policy_documents = [
    data.aws_iam_policy_document.change_jobs.json,
    data.aws_iam_policy_document.run_update_job.json,
  ]
}

# The functions that settle executions invoke this function. So only it needs the rights to change a job and its trigger.
module "pause_failing_job" {
  source = "./modules/function"

  name        = "pause_failing_job"
  defaults    = local.function_defaults
  description = "Pauses a job that has failed too often in a row."
  policy      = data.aws_iam_policy_document.pause_failing_job.json

  environment = merge(local.triggers_environment, local.changes_environment)
}

data "aws_iam_policy_document" "pause_failing_job" {
  source_policy_documents = [
    data.aws_iam_policy_document.change_jobs.json,
    data.aws_iam_policy_document.keep_failed_upkeep.json,
    data.aws_iam_policy_document.encrypt_for_queues.json,
  ]
}

resource "aws_lambda_function_event_invoke_config" "pause_failing_job" {
  function_name                = module.pause_failing_job.function_name
  maximum_event_age_in_seconds = 21600
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = module.upkeep_dead_letters.arn
    }
  }
}

# For the functions that change a job themselves, without the update-job machine.
data "aws_iam_policy_document" "change_jobs" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.update_jobs.json,
    data.aws_iam_policy_document.read_schedules.json,
    data.aws_iam_policy_document.update_schedules.json,
    data.aws_iam_policy_document.delete_schedules.json,
    data.aws_iam_policy_document.make_schedule_triggers.json,
    data.aws_iam_policy_document.remove_schedule_triggers.json,
    data.aws_iam_policy_document.publish_events.json,
    data.aws_iam_policy_document.encrypt_for_topics.json,
  ]
}

module "test_job" {
  source = "./modules/function"

  name        = "test_job"
  defaults    = local.function_defaults
  description = "Sends a test notification to the target of a job."
  policy      = data.aws_iam_policy_document.test_job.json
  network     = local.targets_network

  environment = merge(local.targets_environment, local.signing_environment, {
    JOBS_TABLE = aws_dynamodb_table.jobs.name
  })
}

data "aws_iam_policy_document" "test_job" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.publish_notifications.json,
    data.aws_iam_policy_document.encrypt_for_topics.json,
    data.aws_iam_policy_document.read_webhook_secrets.json,
    data.aws_iam_policy_document.decrypt_webhook_secrets.json,
  ]
}
