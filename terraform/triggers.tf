# Functions make and remove the triggers of jobs at run time, one for each unique schedule: put_schedule,
# release_schedule, delete_job and others. A trigger is an EventBridge rule, or a schedule of EventBridge Scheduler.
# Terraform owns what the triggers need: the permission to invoke start_due_executions, and the dead-letter queue for
# ticks that could not be delivered or handled.

resource "aws_lambda_permission" "rules_start_due_executions" {
  statement_id  = "AllowScheduleRules"
  function_name = module.start_due_executions.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = local.schedule_rule_arn # a pattern, which Lambda compares with ArnLike
}

# EventBridge Scheduler takes this role to invoke start_due_executions, and to send dead letters in the role's name.
# https://docs.aws.amazon.com/scheduler/latest/UserGuide/setting-up.html#setting-up-execution-role
# https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
resource "aws_iam_role" "scheduler" {
  name               = "${local.prefix}-scheduler"
  description        = "Role of the schedules of jobs of ${local.prefix}"
  assume_role_policy = data.aws_iam_policy_document.assume_scheduler.json
}

# AWS: "Do not scope the aws:SourceArn statement to a specific schedule or a schedule name prefix. The ARN you specify
# must be a schedule group."
# https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
data "aws_iam_policy_document" "assume_scheduler" {
  statement {
    sid     = "LetSchedulerTakeTheRole"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = ["arn:${local.partition}:scheduler:${local.place}:schedule-group/default"]
    }
  }
}

data "aws_iam_policy_document" "scheduler" {
  source_policy_documents = [
    data.aws_iam_policy_document.invoke_start_due_executions.json,
    data.aws_iam_policy_document.encrypt_for_queues.json,
  ]

  statement {
    sid       = "KeepTicksThatWereNotDelivered"
    actions   = ["sqs:SendMessage"]
    resources = [module.tick_dead_letters.arn]
  }
}

resource "aws_iam_role_policy" "scheduler" {
  name   = aws_iam_role.scheduler.name
  role   = aws_iam_role.scheduler.id
  policy = data.aws_iam_policy_document.scheduler.json
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

# Terraform does not know the triggers of jobs, so a command removes them on destroy. It runs after the API is gone, so
# that nobody makes another one, and before Terraform destroys the function that they invoke, and their role. The command then
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

  depends_on = [aws_iam_role_policy.scheduler, module.start_due_executions, module.run_job, module.update_job]
}
