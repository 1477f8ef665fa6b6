# The functions of the update-job machine, in its order.

module "validate_job" {
  source = "./modules/function"

  name        = "validate_job"
  defaults    = local.function_defaults
  description = "Validates a job and converts its schedule to canonical form."
  policy      = data.aws_iam_policy_document.validate_job.json
  network     = local.targets_network

  environment = merge(local.targets_environment, local.spread_environment, {
    NOTIFICATIONS_TOPIC_ARN = aws_sns_topic.notifications.arn
    LIMITS_TABLE            = aws_dynamodb_table.limits.name
    DEFAULT_WORKFLOW_TYPE   = var.default_workflow_type
  })
}

data "aws_iam_policy_document" "validate_job" {
  source_policy_documents = [data.aws_iam_policy_document.read_limits.json]
}

module "test_target" {
  source = "./modules/function"

  name        = "test_target"
  defaults    = local.function_defaults
  description = "Tests whether the target of a job accepts notifications."
  policy      = data.aws_iam_policy_document.test_target.json
  network     = local.targets_network

  environment = merge(local.targets_environment, local.signing_environment)
}

data "aws_iam_policy_document" "test_target" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_webhook_secrets.json,
    data.aws_iam_policy_document.decrypt_webhook_secrets.json,
  ]

  # The stage's own topic needs no check.
  dynamic "statement" {
    for_each = length(var.notification_topic_arns) == 0 ? [] : [1]

    content {
      sid       = "LookAtTopics"
      actions   = ["sns:GetTopicAttributes"]
      resources = var.notification_topic_arns
    }
  }
}

module "put_schedule" {
  source = "./modules/function"

  name        = "put_schedule"
  defaults    = local.function_defaults
  description = "Makes the trigger of a schedule if it does not exist yet."
  policy      = data.aws_iam_policy_document.put_schedule.json

  environment = merge(local.triggers_environment, {
    SCHEDULES_TABLE = aws_dynamodb_table.schedules.name
    SCHEDULE_LIMIT  = tostring(var.schedule_limit)
  })
}

data "aws_iam_policy_document" "put_schedule" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_schedules.json,
    data.aws_iam_policy_document.query_schedules.json,
    data.aws_iam_policy_document.make_schedule_triggers.json,
  ]
}

module "save_job" {
  source = "./modules/function"

  name        = "save_job"
  defaults    = local.function_defaults
  description = "Saves a job, updates the count of its schedule, and publishes the event."
  policy      = data.aws_iam_policy_document.save_job.json

  environment = {
    JOBS_TABLE                   = aws_dynamodb_table.jobs.name
    SCHEDULES_TABLE              = aws_dynamodb_table.schedules.name
    EVENTS_TOPIC_ARN             = aws_sns_topic.events.arn
    START_WAITING_EXECUTIONS_ARN = local.start_waiting_arn
  }
}

data "aws_iam_policy_document" "save_job" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.update_jobs.json,
    data.aws_iam_policy_document.update_schedules.json,
    data.aws_iam_policy_document.publish_events.json,
    data.aws_iam_policy_document.encrypt_for_topics.json,
    data.aws_iam_policy_document.have_waiting_executions_started.json,
  ]
}

module "release_schedule" {
  source = "./modules/function"

  name        = "release_schedule"
  defaults    = local.function_defaults
  description = "Removes the trigger of a schedule that no job uses any more."
  policy      = data.aws_iam_policy_document.release_schedule.json

  environment = merge(local.triggers_environment, {
    SCHEDULES_TABLE = aws_dynamodb_table.schedules.name
  })
}

data "aws_iam_policy_document" "release_schedule" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_schedules.json,
    data.aws_iam_policy_document.delete_schedules.json,
    data.aws_iam_policy_document.make_schedule_triggers.json,
    data.aws_iam_policy_document.remove_schedule_triggers.json,
  ]
}
