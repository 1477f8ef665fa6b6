# When rules are made to match jobs. The rule's name is none of those that jobs' rules have.

resource "aws_cloudwatch_event_rule" "reconcile_schedules" {
  name                = "${local.prefix}-reconcile-schedules"
  description         = "Makes the rules of ${local.prefix} match its jobs"
  schedule_expression = var.reconcile_schedule
}

resource "aws_cloudwatch_event_target" "reconcile_schedules" {
  rule      = aws_cloudwatch_event_rule.reconcile_schedules.name
  target_id = "reconcile-schedules"
  arn       = module.reconcile_schedules.arn

  retry_policy {
    maximum_event_age_in_seconds = 3600
    maximum_retry_attempts       = 60
  }

  dead_letter_config {
    arn = aws_sqs_queue.reconcile_dead_letters.arn
  }

  # Destroyed before the jobs' rules are removed, so that none is made again after that.
  depends_on = [terraform_data.schedule_rules]
}

resource "aws_lambda_permission" "rule_reconcile_schedules" {
  statement_id  = "AllowReconcileRule"
  function_name = module.reconcile_schedules.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.reconcile_schedules.arn
}

resource "aws_lambda_function_event_invoke_config" "reconcile_schedules" {
  function_name                = module.reconcile_schedules.function_name
  maximum_event_age_in_seconds = 3600
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.reconcile_dead_letters.arn
    }
  }
}

# What lies here needs no redrive: the next run does the same. It says that runs fail.
resource "aws_sqs_queue" "reconcile_dead_letters" {
  name                      = "${local.prefix}-reconcile-dead-letters"
  kms_master_key_id         = aws_kms_key.stage.arn
  message_retention_seconds = 14 * 24 * 60 * 60
}

data "aws_iam_policy_document" "reconcile_dead_letters" {
  statement {
    sid       = "LetTheReconcileRuleSend"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.reconcile_dead_letters.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.reconcile_schedules.arn]
    }
  }

  dynamic "statement" {
    for_each = var.require_tls ? [1] : []

    content {
      sid       = "RefuseCallsWithoutTls"
      effect    = "Deny"
      actions   = ["sqs:*"]
      resources = [aws_sqs_queue.reconcile_dead_letters.arn]

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

resource "aws_sqs_queue_policy" "reconcile_dead_letters" {
  queue_url = aws_sqs_queue.reconcile_dead_letters.id
  policy    = data.aws_iam_policy_document.reconcile_dead_letters.json
}
