# The steps of the update-job machine.

module "validate_job" {
  source = "./modules/function"

  name        = "validate_job"
  defaults    = local.function_defaults
  description = "Checks a job and puts its schedule into canonical form."
  network     = local.targets_network

  environment = merge(local.targets_environment, {
    NOTIFICATIONS_TOPIC_ARN = aws_sns_topic.notifications.arn
  })
}

module "test_target" {
  source = "./modules/function"

  name        = "test_target"
  defaults    = local.function_defaults
  description = "Tries whether the target of a job takes notifications."
  policy      = data.aws_iam_policy_document.test_target.json
  network     = local.targets_network

  environment = merge(local.targets_environment, local.signing_environment)
}

data "aws_iam_policy_document" "test_target" {
  # The stage's own topic needs no look.
  dynamic "statement" {
    for_each = length(var.notification_topic_arns) == 0 ? [] : [1]

    content {
      sid       = "LookAtTopics"
      actions   = ["sns:GetTopicAttributes"]
      resources = var.notification_topic_arns
    }
  }

  statement {
    sid       = "ReadWebhookSecrets"
    actions   = ["dynamodb:GetItem"]
    resources = [aws_dynamodb_table.services.arn]
  }

  statement {
    sid       = "DecryptWebhookSecrets"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.stage.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:purpose"
      values   = ["webhook-secret"]
    }
  }
}

module "put_schedule" {
  source = "./modules/function"

  name        = "put_schedule"
  defaults    = local.function_defaults
  description = "Makes the rule of a schedule, if no job has it yet."
  policy      = data.aws_iam_policy_document.put_schedule.json

  environment = merge(local.rules_environment, {
    SCHEDULES_TABLE = aws_dynamodb_table.schedules.name
    SCHEDULE_LIMIT  = tostring(var.schedule_limit)
  })
}

data "aws_iam_policy_document" "put_schedule" {
  statement {
    sid       = "CountSchedules"
    actions   = ["dynamodb:GetItem", "dynamodb:Query"]
    resources = [aws_dynamodb_table.schedules.arn]
  }

  statement {
    sid       = "MakeScheduleRules"
    actions   = local.rule_actions.make
    resources = [local.schedule_rule_arn]
  }
}

module "save_job" {
  source = "./modules/function"

  name        = "save_job"
  defaults    = local.function_defaults
  description = "Saves a job, counts it to its schedule, and tells the subscribers."
  policy      = data.aws_iam_policy_document.save_job.json

  environment = {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    SCHEDULES_TABLE  = aws_dynamodb_table.schedules.name
    EVENTS_TOPIC_ARN = aws_sns_topic.events.arn
  }
}

data "aws_iam_policy_document" "save_job" {
  statement {
    sid       = "SaveJobs"
    actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.jobs.arn]
  }

  statement {
    sid       = "CountJobsOfSchedules"
    actions   = ["dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.schedules.arn]
  }

  statement {
    sid       = "PublishEvents"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.events.arn]
  }

  statement {
    sid       = "EncryptEvents"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = [aws_kms_key.stage.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [local.via.sns]
    }
  }
}

module "release_schedule" {
  source = "./modules/function"

  name        = "release_schedule"
  defaults    = local.function_defaults
  description = "Removes the rule of a schedule that no job has any more."
  policy      = data.aws_iam_policy_document.release_schedule.json

  environment = merge(local.rules_environment, {
    SCHEDULES_TABLE = aws_dynamodb_table.schedules.name
  })
}

data "aws_iam_policy_document" "release_schedule" {
  statement {
    sid       = "ForgetSchedulesWithoutJobs"
    actions   = ["dynamodb:DeleteItem", "dynamodb:GetItem"]
    resources = [aws_dynamodb_table.schedules.arn]
  }

  statement {
    sid       = "MakeAndRemoveScheduleRules"
    actions   = local.rule_actions.make_and_remove
    resources = [local.schedule_rule_arn]
  }
}
