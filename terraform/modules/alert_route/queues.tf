# The queue of what the topics publish and of the function's own delayed messages, and its dead-letter queue.

locals {
  queues = {
    signals      = aws_sqs_queue.signals
    dead_letters = aws_sqs_queue.dead_letters
  }
}

resource "aws_sqs_queue" "signals" {
  name                       = local.name
  kms_master_key_id          = local.kms_key_arn
  message_retention_seconds  = 4 * 24 * 60 * 60
  visibility_timeout_seconds = 6 * local.route_timeout + var.batching_window_seconds

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = 50 # messages count as received even if the function has no capacity for them
  })
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = "${local.name}-dead-letters"
  kms_master_key_id         = local.kms_key_arn
  message_retention_seconds = 14 * 24 * 60 * 60
}

data "aws_iam_policy_document" "queue" {
  for_each = local.queues

  statement {
    sid       = "LetTheTopicsSend"
    actions   = ["sqs:SendMessage"]
    resources = [each.value.arn]

    principals {
      type        = "Service"
      identifiers = ["sns.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [var.topic_arn, var.alarms_topic_arn]
    }
  }

  dynamic "statement" {
    for_each = var.require_tls ? [1] : []

    content {
      sid       = "RefuseCallsWithoutTls"
      effect    = "Deny"
      actions   = ["sqs:*"]
      resources = [each.value.arn]

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
  for_each = local.queues

  queue_url = each.value.id
  policy    = data.aws_iam_policy_document.queue[each.key].json
}

module "events" {
  source = "../subscription"
  count  = length(var.events) == 0 ? 0 : 1

  name                = local.name
  topic_arn           = var.topic_arn
  queue               = aws_sqs_queue.signals
  manage_queue_policy = false
  dead_letter_queue   = aws_sqs_queue.dead_letters
  require_tls         = var.require_tls

  filter = merge(
    { event = concat(var.events, [for event in local.ends : event if !contains(var.events, event)]) },
    length(var.services) == 0 ? {} : { service_name = var.services },
  )

  depends_on = [aws_sqs_queue_policy.queue]
}

module "alarms" {
  source = "../subscription"
  count  = var.alarms ? 1 : 0

  name                = local.name
  topic_arn           = var.alarms_topic_arn
  queue               = aws_sqs_queue.signals
  manage_queue_policy = false
  dead_letter_queue   = aws_sqs_queue.dead_letters
  require_tls         = var.require_tls

  depends_on = [aws_sqs_queue_policy.queue]
}
