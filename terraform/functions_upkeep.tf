# The stage looks after itself; when, is in upkeep.tf.

module "reap_executions" {
  source = "./modules/function"

  name        = "reap_executions"
  defaults    = local.function_defaults
  description = "Ends overdue executions that nobody else ends any more, and frees their locks."
  policy      = data.aws_iam_policy_document.reap_executions.json
  timeout     = 300

  environment = {
    JOBS_TABLE         = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE   = aws_dynamodb_table.executions.name
    EVENTS_TOPIC_ARN   = aws_sns_topic.events.arn
    RETENTION_DAYS     = tostring(var.execution_retention_days)
    STATE_MACHINE_ARN  = local.run_job_arn
    REAP_GRACE_SECONDS = tostring(var.reap_grace_seconds)
  }
}

data "aws_iam_policy_document" "reap_executions" {
  statement {
    sid       = "FindOverdueExecutions"
    actions   = ["dynamodb:Query"]
    resources = ["${aws_dynamodb_table.executions.arn}/index/open"]
  }

  statement {
    sid       = "SettleExecutions"
    actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.executions.arn]
  }

  statement {
    sid       = "FreeLocksOnJobs"
    actions   = ["dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.jobs.arn]
  }

  statement {
    sid       = "StopExecutions"
    actions   = ["states:StopExecution"]
    resources = ["${replace(local.run_job_arn, ":stateMachine:", ":execution:")}:*"]
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
  }
}
