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
  source_policy_documents = [data.aws_iam_policy_document.tell_of_upkeep.json]

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
    actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.jobs.arn]
  }

  # On the state machine, as in receive_callback.
  statement {
    sid       = "LetExecutionsGoOnWithTheirNextAttempt"
    actions   = ["states:SendTaskFailure"]
    resources = [local.run_job_arn]
  }

  statement {
    sid       = "StopExecutions"
    actions   = ["states:StopExecution"]
    resources = ["${replace(local.run_job_arn, ":stateMachine:", ":execution:")}:*"]
  }
}

module "reconcile_schedules" {
  source = "./modules/function"

  name        = "reconcile_schedules"
  defaults    = local.function_defaults
  description = "Makes the rules match the jobs, and tells which ticks were missed."
  policy      = data.aws_iam_policy_document.reconcile_schedules.json
  timeout     = 29
  memory_size = max(512, var.memory_size)

  environment = merge(local.rules_environment, {
    EVENTS_TOPIC_ARN          = aws_sns_topic.events.arn
    MISSED_TICK_GRACE_SECONDS = tostring(var.missed_tick_grace_seconds)
    SCHEDULES_TABLE           = aws_dynamodb_table.schedules.name
  })
}

data "aws_iam_policy_document" "reconcile_schedules" {
  source_policy_documents = [data.aws_iam_policy_document.tell_of_upkeep.json]

  statement {
    sid       = "ReadSchedulesAndNoteWhatWasMissed"
    actions   = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.schedules.arn]
  }

  # The action knows no resource.
  statement {
    sid       = "FindScheduleRules"
    actions   = ["events:ListRules"]
    resources = ["*"]
  }

  statement {
    sid       = "MakeAndRemoveScheduleRules"
    actions   = local.rule_actions.make_and_remove
    resources = [local.schedule_rule_arn]
  }

  statement {
    sid       = "StartJobsThatCatchUp"
    actions   = ["lambda:InvokeFunction"]
    resources = [local.start_due_arn]
  }
}

# What both need to be heard of: by subscribers, and in the end by the dead-letter queue.
data "aws_iam_policy_document" "tell_of_upkeep" {
  statement {
    sid       = "PublishEvents"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.events.arn]
  }

  # Lambda sends what was tried in vain in the function's name.
  statement {
    sid       = "KeepRunsThatFailed"
    actions   = ["sqs:SendMessage"]
    resources = [module.upkeep_dead_letters.arn]
  }

  statement {
    sid       = "EncryptEventsAndRunsThatFailed"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = [aws_kms_key.stage.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [local.via.sns, local.via.sqs]
    }
  }
}
