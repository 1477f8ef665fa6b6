# The rules themselves, one per unique schedule, are made at run time by put_schedule and removed by
# release_schedule, delete_job and their like. Terraform owns what they need: the permission to invoke
# start_due_executions, and the queue for ticks that could not be delivered or handled.

resource "aws_lambda_permission" "rules_start_due_executions" {
  statement_id  = "AllowScheduleRules"
  function_name = module.start_due_executions.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = local.schedule_rule_arn # a pattern: Lambda compares it with ArnLike
}

module "tick_dead_letters" {
  source = "./modules/dead_letter_queue"

  name        = "${local.prefix}-tick-dead-letters"
  rule_arns   = [local.schedule_rule_arn]
  kms_key_arn = aws_kms_key.stage.arn
  require_tls = var.require_tls
}

resource "aws_lambda_function_event_invoke_config" "start_due_executions" {
  function_name                = module.start_due_executions.function_name
  maximum_event_age_in_seconds = 3600
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = module.tick_dead_letters.arn
    }
  }
}

# Terraform does not know the rules that jobs made, so on destroy a command removes them: after the API is
# gone, so that none is made any more, and before the functions that they invoke.
resource "terraform_data" "schedule_rules" {
  input = {
    command     = "python3 '${path.module}/remove_schedule_rules.py' ${local.prefix} ${local.region}"
    environment = var.command_environment
  }

  provisioner "local-exec" {
    when        = destroy
    command     = self.input.command
    environment = self.input.environment
  }

  depends_on = [module.start_due_executions, module.run_job, module.update_job]
}
