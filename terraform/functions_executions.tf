# What the API does with executions.

module "list_executions" {
  source = "./modules/function"

  name        = "list_executions"
  defaults    = local.function_defaults
  description = "Lists and searches executions, newest first."
  policy      = data.aws_iam_policy_document.list_executions.json

  environment = {
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
    PAGING_KEY_ARN   = aws_kms_key.stage.arn
    RETENTION_DAYS   = tostring(var.execution_retention_days)
  }
}

data "aws_iam_policy_document" "list_executions" {
  statement {
    sid       = "ReadExecutions"
    actions   = ["dynamodb:BatchGetItem", "dynamodb:Query"]
    resources = [aws_dynamodb_table.executions.arn]
  }

  statement {
    sid     = "FindExecutions"
    actions = ["dynamodb:Query"]
    resources = [
      "${aws_dynamodb_table.executions.arn}/index/by_day",
      "${aws_dynamodb_table.executions.arn}/index/by_service",
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

module "get_execution" {
  source = "./modules/function"

  name        = "get_execution"
  defaults    = local.function_defaults
  description = "Answers one execution with its result."
  policy      = data.aws_iam_policy_document.get_execution.json

  environment = {
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
  }
}

data "aws_iam_policy_document" "get_execution" {
  statement {
    sid       = "ReadExecutions"
    actions   = ["dynamodb:GetItem"]
    resources = [aws_dynamodb_table.executions.arn]
  }
}

module "receive_callback" {
  source = "./modules/function"

  name        = "receive_callback"
  defaults    = local.function_defaults
  description = "Records what a service calls back, then tells the waiting execution."
  policy      = data.aws_iam_policy_document.receive_callback.json
  concurrency = var.callback_concurrency

  environment = {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE = aws_dynamodb_table.executions.name
  }
}

data "aws_iam_policy_document" "receive_callback" {
  statement {
    sid       = "RecordCallbacks"
    actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.executions.arn]
  }

  statement {
    sid       = "ExtendLocksOnJobs"
    actions   = ["dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.jobs.arn]
  }

  # The authorization reference names no resource type for these, but AWS checks them against the state machine
  # whose Lambda task gave out the token: https://github.com/aws/aws-cdk/pull/8486
  statement {
    sid       = "AnswerWaitingExecutions"
    actions   = ["states:SendTaskFailure", "states:SendTaskHeartbeat", "states:SendTaskSuccess"]
    resources = [local.run_job_arn]
  }
}

module "start_execution" {
  source = "./modules/function"

  name        = "start_execution"
  defaults    = local.function_defaults
  description = "Runs a job now."
  policy      = data.aws_iam_policy_document.start_execution.json

  environment = {
    JOBS_TABLE        = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE  = aws_dynamodb_table.executions.name
    RETENTION_DAYS    = tostring(var.execution_retention_days)
    STATE_MACHINE_ARN = local.run_job_arn
  }
}

data "aws_iam_policy_document" "start_execution" {
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
    sid       = "StartExecutions"
    actions   = ["states:StartExecution"]
    resources = [local.run_job_arn]
  }
}

module "rerun_execution" {
  source = "./modules/function"

  name        = "rerun_execution"
  defaults    = local.function_defaults
  description = "Runs a job again with the payload that it had."
  policy      = data.aws_iam_policy_document.rerun_execution.json

  environment = {
    JOBS_TABLE        = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE  = aws_dynamodb_table.executions.name
    RETENTION_DAYS    = tostring(var.execution_retention_days)
    STATE_MACHINE_ARN = local.run_job_arn
  }
}

data "aws_iam_policy_document" "rerun_execution" {
  statement {
    sid       = "TakeLocksOnJobs"
    actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.jobs.arn]
  }

  statement {
    sid       = "InsertExecutions"
    actions   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.executions.arn]
  }

  statement {
    sid       = "StartExecutions"
    actions   = ["states:StartExecution"]
    resources = [local.run_job_arn]
  }
}

module "cancel_execution" {
  source = "./modules/function"

  name        = "cancel_execution"
  defaults    = local.function_defaults
  description = "Ends an execution that runs."
  policy      = data.aws_iam_policy_document.cancel_execution.json

  environment = {
    JOBS_TABLE        = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE  = aws_dynamodb_table.executions.name
    EVENTS_TOPIC_ARN  = aws_sns_topic.events.arn
    RETENTION_DAYS    = tostring(var.execution_retention_days)
    STATE_MACHINE_ARN = local.run_job_arn
  }
}

data "aws_iam_policy_document" "cancel_execution" {
  statement {
    sid       = "RecordCancellations"
    actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.executions.arn]
  }

  # What follows is for executions between two attempts: their machines are stopped, and finish nothing.
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

  statement {
    sid       = "StopExecutions"
    actions   = ["states:StopExecution"]
    resources = ["${replace(local.run_job_arn, ":stateMachine:", ":execution:")}:*"]
  }

  # On the state machine, as in receive_callback.
  statement {
    sid       = "AnswerWaitingExecutions"
    actions   = ["states:SendTaskFailure"]
    resources = [local.run_job_arn]
  }
}
