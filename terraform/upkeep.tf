# The schedules of the stage's own upkeep. Terraform owns these rules. Their names do not match the pattern of jobs'
# rules, so the functions that make and remove jobs' rules cannot change them.

locals {
  upkeep = {
    reap_executions = {
      description = "Looks after the open executions of ${local.prefix}"
      schedule    = var.reap_schedule
    }
    reconcile_schedules = {
      description = "Makes the triggers of ${local.prefix} match its jobs"
      schedule    = var.reconcile_schedule
    }
  }
}

resource "aws_cloudwatch_event_rule" "upkeep" {
  for_each = local.upkeep

  name                = "${local.prefix}-${replace(each.key, "_", "-")}"
  description         = each.value.description
  schedule_expression = each.value.schedule
}

resource "aws_cloudwatch_event_target" "upkeep" {
  for_each = local.upkeep

  rule      = aws_cloudwatch_event_rule.upkeep[each.key].name
  target_id = replace(each.key, "_", "-")
  arn       = local.functions[each.key].arn

  retry_policy {
    maximum_event_age_in_seconds = 3600
    maximum_retry_attempts       = 60
  }

  dead_letter_config {
    arn = module.upkeep_dead_letters.arn
  }

  # Terraform destroys these targets before it removes the jobs' rules, so no rule is made again after that.
  depends_on = [module.upkeep_dead_letters, terraform_data.schedule_rules]
}

resource "aws_lambda_permission" "upkeep" {
  for_each = local.upkeep

  statement_id  = "AllowUpkeepRule"
  function_name = local.functions[each.key].function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.upkeep[each.key].arn
}

resource "aws_lambda_function_event_invoke_config" "upkeep" {
  for_each = local.upkeep

  function_name                = local.functions[each.key].function_name
  maximum_event_age_in_seconds = 3600
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = module.upkeep_dead_letters.arn
    }
  }
}

# Messages here mean that upkeep fails. Those of upkeep's rules need no redrive, because the next run does the same
# work. One of finish_execution is an Express execution that failed before it began, or a skip's event: redrive it.
module "upkeep_dead_letters" {
  source = "./modules/dead_letter_queue"

  name        = "${local.prefix}-upkeep-dead-letters"
  rule_arns   = [for rule in aws_cloudwatch_event_rule.upkeep : rule.arn]
  kms_key_arn = aws_kms_key.stage.arn
  require_tls = var.require_tls
}
