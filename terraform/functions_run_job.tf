# From the tick to the end of an execution.

module "start_due_executions" {
  source = "./modules/function"

  name        = "start_due_executions"
  defaults    = local.function_defaults
  description = "Starts one execution for each job that a tick makes due."
  policy      = data.aws_iam_policy_document.start_due_executions.json
  # Lambda takes a chain of 16 invocations by themselves for a loop, so each does as much as it can; and with
  # less memory it would have less of a CPU than a start needs at the rate of StartExecution's quota.
  # https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
  timeout     = 900
  memory_size = max(1024, var.memory_size)

  environment = {
    JOBS_TABLE        = aws_dynamodb_table.jobs.name
    SCHEDULES_TABLE   = aws_dynamodb_table.schedules.name
    STATE_MACHINE_ARN = local.run_job_arn
  }
}

data "aws_iam_policy_document" "start_due_executions" {
  statement {
    sid       = "FindDueJobs"
    actions   = ["dynamodb:Query"]
    resources = ["${aws_dynamodb_table.jobs.arn}/index/by_schedule"]
  }

  statement {
    sid       = "ReadJobsToCatchUp"
    actions   = ["dynamodb:BatchGetItem"]
    resources = [aws_dynamodb_table.jobs.arn]
  }

  statement {
    sid       = "NoteTicks"
    actions   = ["dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.schedules.arn]
  }

  statement {
    sid       = "StartExecutions"
    actions   = ["states:StartExecution"]
    resources = [local.run_job_arn]
  }

  statement {
    sid       = "HandTheNextPageToItself"
    actions   = ["lambda:InvokeFunction"]
    resources = [local.start_due_arn]
  }

  # Lambda sends what was tried in vain in the function's name.
  statement {
    sid       = "KeepTicksThatFailed"
    actions   = ["sqs:SendMessage"]
    resources = [module.tick_dead_letters.arn]
  }

  statement {
    sid       = "EncryptTicksThatFailed"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = [aws_kms_key.stage.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [local.via.sqs]
    }
  }
}

module "begin_execution" {
  source = "./modules/function"

  name        = "begin_execution"
  defaults    = local.function_defaults
  description = "Takes the job's lock and inserts the execution record."
  policy      = data.aws_iam_policy_document.begin_execution.json

  environment = {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
    EVENTS_TOPIC_ARN = aws_sns_topic.events.arn
    RETENTION_DAYS   = tostring(var.execution_retention_days)
  }
}

data "aws_iam_policy_document" "begin_execution" {
  statement {
    sid       = "TakeLocksOnJobs"
    actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.jobs.arn]
  }

  statement {
    sid       = "InsertExecutions"
    actions   = ["dynamodb:GetItem", "dynamodb:PutItem"]
    resources = [aws_dynamodb_table.executions.arn]
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

module "notify_service" {
  source = "./modules/function"

  name        = "notify_service"
  defaults    = local.function_defaults
  description = "Notifies the service by SNS or webhook that its job is due."
  policy      = data.aws_iam_policy_document.notify_service.json
  timeout     = 90 # a sync job's service has 60 s to answer
  network     = local.targets_network

  environment = merge(local.targets_environment, local.signing_environment, {
    JOBS_TABLE        = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE  = aws_dynamodb_table.executions.name
    CALLBACK_BASE_URL = "${local.api_url}/callback"
  })
}

data "aws_iam_policy_document" "notify_service" {
  statement {
    sid       = "StoreTaskTokens"
    actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.executions.arn]
  }

  statement {
    sid       = "ExtendLocksOnJobs"
    actions   = ["dynamodb:UpdateItem"]
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

  # On the state machine, as in receive_callback.
  statement {
    sid       = "AnswerExecutionsThatNeedNoCallback" # and count a service's silence since it was notified
    actions   = ["states:SendTaskFailure", "states:SendTaskHeartbeat", "states:SendTaskSuccess"]
    resources = [local.run_job_arn]
  }
}

module "finish_execution" {
  source = "./modules/function"

  name        = "finish_execution"
  defaults    = local.function_defaults
  description = "Settles the execution record, frees the lock and publishes the event."
  policy      = data.aws_iam_policy_document.finish_execution.json

  environment = {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
    EVENTS_TOPIC_ARN = aws_sns_topic.events.arn
    RETENTION_DAYS   = tostring(var.execution_retention_days)
  }
}

data "aws_iam_policy_document" "finish_execution" {
  statement {
    sid       = "SettleExecutions"
    actions   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.executions.arn]
  }

  statement {
    sid       = "FreeLocksOnJobs"
    actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.jobs.arn]
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
