# One subscriber of a topic, with the permissions that SNS needs to reach it, and a dead-letter queue.

locals {
  is_queue    = var.queue != null
  is_function = var.function != null

  endpoint = local.is_queue ? var.queue.arn : local.is_function ? var.function.arn : coalesce(var.url, var.mail_address)
  protocol = (
    local.is_queue ? "sqs"
    : local.is_function ? "lambda"
    : var.mail_address != null ? "email"
    : startswith(var.url, "http:") ? "http"
    : "https"
  )

  # SNS can deliver messages without its JSON envelope only to queues and URLs.
  # https://docs.aws.amazon.com/sns/latest/dg/sns-large-payload-raw-message-delivery.html
  raw_message_delivery = coalesce(var.raw_message_delivery, local.is_queue || var.url != null)

  # https://docs.aws.amazon.com/sns/latest/dg/string-value-matching.html
  filter_policy = jsonencode({
    for attribute, values in var.filter : attribute => concat(
      [for value in values : value if !endswith(value, "*")],
      [for value in values : { prefix = trimsuffix(value, "*") } if endswith(value, "*") && value != "*"],
      [for value in values : { exists = true } if value == "*"],
    )
  })
}

resource "aws_sns_topic_subscription" "subscriber" {
  topic_arn              = var.topic_arn
  protocol               = local.protocol
  endpoint               = local.endpoint
  endpoint_auto_confirms = var.endpoint_auto_confirms
  raw_message_delivery   = local.raw_message_delivery
  filter_policy          = length(var.filter) == 0 ? null : local.filter_policy
  redrive_policy         = jsonencode({ deadLetterTargetArn = local.dead_letter_queue_arn })

  # SNS may deliver the first message immediately.
  depends_on = [
    aws_lambda_permission.subscriber,
    aws_sqs_queue_policy.dead_letters,
    aws_sqs_queue_policy.subscriber,
  ]
}

# A queue's own policy lets SNS in: that of the subscribed queue, and that of the dead-letter queue. A queue has only
# one policy.

locals {
  queue_arns = merge(
    local.is_queue ? { subscriber = local.endpoint } : {},
    local.makes_dead_letters ? { dead_letters = aws_sqs_queue.dead_letters[0].arn } : {},
  )
}

data "aws_iam_policy_document" "queue" {
  for_each = local.queue_arns

  statement {
    sid       = "LetTheTopicSend"
    actions   = ["sqs:SendMessage"]
    resources = [each.value]

    principals {
      type        = "Service"
      identifiers = ["sns.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [var.topic_arn]
    }
  }

  dynamic "statement" {
    for_each = var.require_tls ? [1] : []

    content {
      sid       = "RefuseCallsWithoutTls"
      effect    = "Deny"
      actions   = ["sqs:*"]
      resources = [each.value]

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

resource "aws_sqs_queue_policy" "subscriber" {
  count = local.is_queue && var.manage_queue_policy ? 1 : 0

  queue_url = var.queue.id
  policy    = data.aws_iam_policy_document.queue["subscriber"].json
}

# A permission of the function lets SNS in.

resource "aws_lambda_permission" "subscriber" {
  count = local.is_function ? 1 : 0

  statement_id  = "AllowTopic-${var.name}"
  function_name = var.function.arn
  action        = "lambda:InvokeFunction"
  principal     = "sns.amazonaws.com"
  source_arn    = var.topic_arn
}
