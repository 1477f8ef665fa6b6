# What the API does with jobs.

module "put_job" {
  source = "./modules/function"

  name        = "put_job"
  defaults    = local.function_defaults
  description = "Creates or replaces a job, by running the update-job machine."
  policy      = data.aws_iam_policy_document.put_job.json
  timeout     = 29 # the longest for which API Gateway waits, less one

  environment = {
    UPDATE_JOB_STATE_MACHINE_ARN = local.update_job_arn
  }
}

data "aws_iam_policy_document" "put_job" {
  statement {
    sid       = "RunTheUpdateJobMachine"
    actions   = ["states:StartSyncExecution"]
    resources = [local.update_job_arn]
  }
}

module "get_job" {
  source = "./modules/function"

  name        = "get_job"
  defaults    = local.function_defaults
  description = "Answers one job."
  policy      = data.aws_iam_policy_document.get_job.json

  environment = {
    JOBS_TABLE = aws_dynamodb_table.jobs.name
  }
}

data "aws_iam_policy_document" "get_job" {
  statement {
    sid       = "ReadJobs"
    actions   = ["dynamodb:GetItem"]
    resources = [aws_dynamodb_table.jobs.arn]
  }
}

module "delete_job" {
  source = "./modules/function"

  name        = "delete_job"
  defaults    = local.function_defaults
  description = "Deletes a job, and its rule if no other job shares it; its history stays."
  policy      = data.aws_iam_policy_document.change_jobs.json

  environment = merge(local.rules_environment, {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    SCHEDULES_TABLE  = aws_dynamodb_table.schedules.name
    EVENTS_TOPIC_ARN = aws_sns_topic.events.arn
  })
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
  statement {
    sid       = "ReadJobs"
    actions   = ["dynamodb:BatchGetItem"]
    resources = [aws_dynamodb_table.jobs.arn]
  }

  statement {
    sid     = "FindJobs"
    actions = ["dynamodb:Query"]
    resources = [
      "${aws_dynamodb_table.jobs.arn}/index/by_guid",
      "${aws_dynamodb_table.jobs.arn}/index/catalog",
    ]
  }

  statement {
    sid       = "SealPositionsInLists"
    actions   = ["kms:Decrypt", "kms:Encrypt"]
    resources = [aws_kms_key.stage.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:purpose"
      values   = ["paging"]
    }
  }
}

module "pause_job" {
  source = "./modules/function"

  name        = "pause_job"
  defaults    = local.function_defaults
  description = "Keeps a job from firing, for good or until a time."
  policy      = data.aws_iam_policy_document.change_jobs.json

  environment = merge(local.rules_environment, {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    SCHEDULES_TABLE  = aws_dynamodb_table.schedules.name
    EVENTS_TOPIC_ARN = aws_sns_topic.events.arn
  })
}

module "resume_job" {
  source = "./modules/function"

  name        = "resume_job"
  defaults    = local.function_defaults
  description = "Lets a paused job fire again."
  policy      = data.aws_iam_policy_document.change_jobs.json

  environment = merge(local.rules_environment, {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    SCHEDULES_TABLE  = aws_dynamodb_table.schedules.name
    EVENTS_TOPIC_ARN = aws_sns_topic.events.arn
  })
}

# Terraform invokes it, see jobs_as_code.tf; the API has no route to it.
module "manage_job" {
  source = "./modules/function"

  name        = "manage_job"
  defaults    = local.function_defaults
  description = "Puts or deletes a job that is defined as code."
  policy      = data.aws_iam_policy_document.manage_job.json
  timeout     = 29

  environment = merge(local.rules_environment, {
    JOBS_TABLE                   = aws_dynamodb_table.jobs.name
    SCHEDULES_TABLE              = aws_dynamodb_table.schedules.name
    EVENTS_TOPIC_ARN             = aws_sns_topic.events.arn
    UPDATE_JOB_STATE_MACHINE_ARN = local.update_job_arn
  })
}

data "aws_iam_policy_document" "manage_job" {
  source_policy_documents = [data.aws_iam_policy_document.change_jobs.json]

  statement {
    sid       = "RunTheUpdateJobMachine"
    actions   = ["states:StartSyncExecution"]
    resources = [local.update_job_arn]
  }
}

# What a change needs that is made here and not by the update-job machine.
data "aws_iam_policy_document" "change_jobs" {
  statement {
    sid       = "ChangeJobs"
    actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.jobs.arn]
  }

  statement {
    sid       = "CountJobsOfSchedules"
    actions   = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.schedules.arn]
  }

  statement {
    sid       = "MakeAndRemoveScheduleRules"
    actions   = local.rule_actions.make_and_remove
    resources = [local.schedule_rule_arn]
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
  statement {
    sid       = "ReadJobs"
    actions   = ["dynamodb:GetItem"]
    resources = [aws_dynamodb_table.jobs.arn]
  }

  statement {
    sid       = "PublishNotifications"
    actions   = ["sns:Publish"]
    resources = local.notification_topic_arns
  }

  statement {
    sid       = "EncryptNotifications"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = [aws_kms_key.stage.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [local.via.sns]
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
