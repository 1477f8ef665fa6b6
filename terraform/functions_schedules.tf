# The functions behind the API's routes for schedules.

module "list_schedules" {
  source = "./modules/function"

  name        = "list_schedules"
  defaults    = local.function_defaults
  description = "Lists the schedules in use, with their triggers and next fire times."
  policy      = data.aws_iam_policy_document.list_schedules.json

  environment = {
    PAGING_KEY_ARN  = aws_kms_key.stage.arn
    SCHEDULES_TABLE = aws_dynamodb_table.schedules.name
    SCHEDULE_LIMIT  = tostring(var.schedule_limit)
    TRIGGER_TYPE    = var.trigger_type
  }
}

data "aws_iam_policy_document" "list_schedules" {
  source_policy_documents = [
    data.aws_iam_policy_document.query_schedules.json,
    data.aws_iam_policy_document.seal_page_tokens.json,
  ]

  statement {
    sid       = "LookAtScheduleRules"
    actions   = ["events:DescribeRule"]
    resources = [local.schedule_rule_arn]
  }

  statement {
    sid       = "LookAtSchedulerSchedules"
    actions   = ["scheduler:GetSchedule"]
    resources = [local.scheduler_schedule_arn]
  }
}

module "preview_schedule" {
  source = "./modules/function"

  name        = "preview_schedule"
  defaults    = local.function_defaults
  description = "Returns the next fire times of a schedule expression."
}
