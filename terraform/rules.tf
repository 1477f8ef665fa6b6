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

resource "aws_sqs_queue" "tick_dead_letters" {
  name                      = "${local.prefix}-tick-dead-letters"
  kms_master_key_id         = aws_kms_key.stage.arn
  message_retention_seconds = 14 * 24 * 60 * 60
}

data "aws_iam_policy_document" "tick_dead_letters" {
  statement {
    sid       = "LetScheduleRulesSend"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.tick_dead_letters.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = [local.schedule_rule_arn]
    }
  }

  dynamic "statement" {
    for_each = var.require_tls ? [1] : []

    content {
      sid       = "RefuseCallsWithoutTls"
      effect    = "Deny"
      actions   = ["sqs:*"]
      resources = [aws_sqs_queue.tick_dead_letters.arn]

      principals {
        type        = "*"
        identifiers = ["*"]
      }

      condition {
        test     = "Bool"
        variable = "aws:SecureTransport"
        values   = ["false"]
      }
    }
  }
}

resource "aws_sqs_queue_policy" "tick_dead_letters" {
  queue_url = aws_sqs_queue.tick_dead_letters.id
  policy    = data.aws_iam_policy_document.tick_dead_letters.json
}

resource "aws_lambda_function_event_invoke_config" "start_due_executions" {
  function_name                = module.start_due_executions.function_name
  maximum_event_age_in_seconds = 3600
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.tick_dead_letters.arn
    }
  }
}

# Terraform does not know the rules that jobs made, so on destroy a command removes them: after the API is
# gone, so that none is made any more, and before the functions that they invoke.
resource "terraform_data" "schedule_rules" {
  input = {
    command     = "python3 ${path.module}/remove_schedule_rules.py ${local.prefix} ${local.region}"
    environment = var.command_environment
  }

  provisioner "local-exec" {
    when        = destroy
    command     = self.input.command
    environment = self.input.environment
  }

  depends_on = [module.start_due_executions, module.run_job, module.update_job]
}
