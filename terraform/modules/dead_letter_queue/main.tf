# A queue for events that EventBridge rules could not deliver, or that the invoked functions could not handle.

resource "aws_sqs_queue" "queue" {
  name                      = var.name
  kms_master_key_id         = var.kms_key_arn
  message_retention_seconds = 14 * 24 * 60 * 60
}

# Functions send with the policies of their own roles.
data "aws_iam_policy_document" "queue" {
  statement {
    sid       = "LetItsRulesSend"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.queue.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = var.rule_arns
    }
  }

  dynamic "statement" {
    for_each = var.require_tls ? [1] : []

    content {
      sid       = "RefuseCallsWithoutTls"
      effect    = "Deny"
      actions   = ["sqs:*"]
      resources = [aws_sqs_queue.queue.arn]

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

resource "aws_sqs_queue_policy" "queue" {
  queue_url = aws_sqs_queue.queue.id
  policy    = data.aws_iam_policy_document.queue.json
}
