locals {
  topics = {
    notifications = aws_sns_topic.notifications.arn
    events        = aws_sns_topic.events.arn
  }
}

# Services subscribe here, with filters on service_name, job_name or job_guid, to be told that a job is due.
resource "aws_sns_topic" "notifications" {
  name              = "${local.prefix}-notifications"
  kms_master_key_id = aws_kms_key.stage.arn
}

# Whoever wants to know how executions went, or that jobs changed, subscribes here, with filters on event, service_name or job_name.
resource "aws_sns_topic" "events" {
  name              = "${local.prefix}-events"
  kms_master_key_id = aws_kms_key.stage.arn
}

# Inside the account, identity policies decide who publishes and subscribes; these only take away.
data "aws_iam_policy_document" "topic" {
  for_each = var.require_tls ? local.topics : {}

  statement {
    sid       = "RefusePublishingWithoutTls"
    effect    = "Deny"
    actions   = ["sns:Publish"]
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

resource "aws_sns_topic_policy" "topic" {
  for_each = data.aws_iam_policy_document.topic

  arn    = local.topics[each.key]
  policy = each.value.json
}
