# The rules of the stage's own upkeep. They are Terraform's: no job's rule is named like them, and nothing that makes
# or removes the rules of jobs may touch them.

resource "aws_cloudwatch_event_rule" "reap_executions" {
  name                = "${local.prefix}-reap-executions"
  description         = "Looks for overdue executions."
  schedule_expression = var.reap_schedule
}

resource "aws_cloudwatch_event_target" "reap_executions" {
  rule = aws_cloudwatch_event_rule.reap_executions.name
  arn  = module.reap_executions.arn

  retry_policy {
    maximum_event_age_in_seconds = 3600
    maximum_retry_attempts       = 10
  }

  dead_letter_config {
    arn = aws_sqs_queue.upkeep_dead_letters.arn
  }

  depends_on = [aws_sqs_queue_policy.upkeep_dead_letters]
}

resource "aws_lambda_permission" "rule_reap_executions" {
  statement_id  = "AllowItsRule"
  function_name = module.reap_executions.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.reap_executions.arn
}

# A run that failed is tried again, and so are the executions that it left, by the next run.
resource "aws_lambda_function_event_invoke_config" "reap_executions" {
  function_name                = module.reap_executions.function_name
  maximum_event_age_in_seconds = 3600
  maximum_retry_attempts       = 2
}

resource "aws_sqs_queue" "upkeep_dead_letters" {
  name                      = "${local.prefix}-upkeep-dead-letters"
  kms_master_key_id         = aws_kms_key.stage.arn
  message_retention_seconds = 14 * 24 * 60 * 60
}

data "aws_iam_policy_document" "upkeep_dead_letters" {
  statement {
    sid       = "LetUpkeepRulesSend"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.upkeep_dead_letters.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.reap_executions.arn]
    }
  }

  dynamic "statement" {
    for_each = var.require_tls ? [1] : []

    content {
      sid       = "RefuseCallsWithoutTls"
      effect    = "Deny"
      actions   = ["sqs:*"]
      resources = [aws_sqs_queue.upkeep_dead_letters.arn]

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

resource "aws_sqs_queue_policy" "upkeep_dead_letters" {
  queue_url = aws_sqs_queue.upkeep_dead_letters.id
  policy    = data.aws_iam_policy_document.upkeep_dead_letters.json
}
