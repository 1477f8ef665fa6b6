# Functions make and remove the rules of jobs at run time, one for each unique schedule: put_schedule, release_schedule,
# delete_job and others. Terraform owns what the rules need: the permission to invoke start_due_executions, and the
# dead-letter queue for ticks that could not be delivered or handled.

resource "aws_lambda_permission" "rules_start_due_executions" {
  statement_id  = "AllowScheduleRules"
  function_name = module.start_due_executions.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = local.schedule_rule_arn # a pattern, which Lambda compares with ArnLike
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

# Terraform does not know the rules of jobs, so a command removes them on destroy. It runs after the API is gone, so
# that nobody makes another rule, and before Terraform destroys the functions that the rules invoke. The command then
# stops the executions, because AWS deletes their state machine only when all of them have ended.
resource "terraform_data" "schedule_rules" {
  input = {
    command     = "python3 '${path.module}/remove_schedule_rules.py' ${local.prefix} ${local.region} ${local.run_job_arn}"
    environment = var.command_environment
  }

  provisioner "local-exec" {
    when        = destroy
    command     = self.input.command
    environment = self.input.environment
  }

  depends_on = [module.start_due_executions, module.run_job, module.update_job]
}
