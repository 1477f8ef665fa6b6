locals {
  topics = {
    notifications = aws_sns_topic.notifications.arn
    events        = aws_sns_topic.events.arn
  }
}

# Services subscribe here for notifications that a job is due. They filter by service_name, job_name or job_guid.
resource "aws_sns_topic" "notifications" {
  name              = "${local.prefix}-notifications"
  kms_master_key_id = aws_kms_key.stage.arn
}

# Subscribers receive outcomes of executions and changes of jobs. They filter by event, service_name or job_name.
resource "aws_sns_topic" "events" {
  name              = "${local.prefix}-events"
  kms_master_key_id = aws_kms_key.stage.arn
}

# Within the account, identity policies decide who may publish and subscribe. These policies only deny.
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
