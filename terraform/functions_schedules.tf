# What the API tells of schedules.

module "list_schedules" {
  source = "./modules/function"

  name        = "list_schedules"
  defaults    = local.function_defaults
  description = "Lists the schedules in use, their rules and their next fire times."
  policy      = data.aws_iam_policy_document.list_schedules.json

  environment = {
    PAGING_KEY_ARN  = aws_kms_key.stage.arn
    SCHEDULES_TABLE = aws_dynamodb_table.schedules.name
  }
}

data "aws_iam_policy_document" "list_schedules" {
  statement {
    sid       = "ReadSchedules"
    actions   = ["dynamodb:Query"]
    resources = [aws_dynamodb_table.schedules.arn]
  }

  statement {
    sid       = "LookAtScheduleRules"
    actions   = ["events:DescribeRule"]
    resources = [local.schedule_rule_arn]
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

module "preview_schedule" {
  source = "./modules/function"

  name        = "preview_schedule"
  defaults    = local.function_defaults
  description = "Tells when a schedule would fire."
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

  statement {
    sid       = "PublishEvents"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.events.arn]
  }

  # Lambda sends what was tried in vain in the function's name.
  statement {
    sid       = "KeepRunsThatFailed"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.reconcile_dead_letters.arn]
  }

  statement {
    sid       = "EncryptEventsAndRunsThatFailed"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = [aws_kms_key.stage.arn]
  }
}
