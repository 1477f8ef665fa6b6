# Problems of jobs and alarms, told to people: topics → queue → function → Slack, Teams, PagerDuty or a webhook.
#
# The function keeps the open problems of each group in a table. It also sends itself delayed messages, which wake it up
# when an update or a message that it is over is due. So nothing runs while nothing is open.

data "aws_partition" "current" {}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

locals {
  name        = "${var.function_defaults.prefix}-alert-${var.name}"
  kms_key_arn = var.function_defaults.kms_key_arn
  region      = data.aws_region.current.id
  dns_suffix  = data.aws_partition.current.dns_suffix
  parameters  = "arn:${data.aws_partition.current.partition}:ssm:${local.region}:${data.aws_caller_identity.current.account_id}:parameter"

  route_timeout = 30

  # A job that keeps failing publishes its recovery. For other problems, every success of a job is needed.
  needs_successes = anytrue([for event in var.events : event != "job.failing"])
  ends = concat(
    ["job.recovered", "job.deleted", "job.paused", "job.completed", "job.updated"],
    local.needs_successes ? ["execution.succeeded"] : [],
  )

  parameter_names = compact([var.parameter_name, var.signing_parameter_name])
  parameter_arns  = [for name in local.parameter_names : "${local.parameters}${name}"]
}

module "route_alerts" {
  source = "../function"

  name        = "route_alerts"
  defaults    = merge(var.function_defaults, { prefix = "${var.function_defaults.prefix}-${var.name}" })
  description = "Tells people about problems of jobs and alarms, grouped, and once more when they are over."
  policy      = data.aws_iam_policy_document.route_alerts.json
  timeout     = local.route_timeout

  environment = {
    ALERT_EVENTS           = length(var.events) == 0 ? "none" : join(",", var.events)
    ALERT_KIND             = var.kind
    ALERT_SOURCE           = var.function_defaults.prefix
    ALERTS_TABLE           = aws_dynamodb_table.alerts.name
    ALLOW_HTTP_TARGETS     = tostring(var.allow_local_destination)
    ALLOW_LOOPBACK_TARGETS = tostring(var.allow_local_destination)
    ALLOW_PRIVATE_TARGETS  = "false"
    CONSOLE_URL            = coalesce(var.console_url, "none")
    DEAD_LETTER_QUEUE_URL  = aws_sqs_queue.dead_letters.id
    GROUP_BY               = var.group_by
    LONGEST_WINDOW_SECONDS = tostring(var.longest_window_seconds)
    PAGERDUTY_SEVERITY     = var.pagerduty_severity
    PAGERDUTY_URL          = var.pagerduty_url
    PARAMETER_NAME         = var.parameter_name
    QUEUE_URL              = aws_sqs_queue.signals.id
    QUIET_SECONDS          = tostring(var.quiet_seconds)
    ROUTE                  = var.name
    SIGNING_PARAMETER_NAME = coalesce(var.signing_parameter_name, "none")
    WINDOW_SECONDS         = tostring(var.window_seconds)
  }
}

data "aws_iam_policy_document" "route_alerts" {
  statement {
    sid       = "TakeSignalsFromTheQueue"
    actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
    resources = [aws_sqs_queue.signals.arn]
  }

  statement {
    sid       = "WakeItselfUpAndGiveUp"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.signals.arn, aws_sqs_queue.dead_letters.arn]
  }

  statement {
    sid       = "DecryptAndEncryptSignals"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = [local.kms_key_arn]
  }

  statement {
    sid       = "KeepOpenProblems"
    actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.alerts.arn]
  }

  statement {
    sid       = "ReadWhereToSend"
    actions   = ["ssm:GetParameter"]
    resources = local.parameter_arns
  }

  # AWS's own key for parameters, alias/aws/ssm, lets every principal of the account decrypt through SSM.
  # https://docs.aws.amazon.com/systems-manager/latest/userguide/ps-restrict-decryption.html
  dynamic "statement" {
    for_each = var.parameter_key_arn == null ? [] : [var.parameter_key_arn]

    content {
      sid       = "DecryptWhereToSend"
      actions   = ["kms:Decrypt"]
      resources = [statement.value]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["ssm.${local.region}.${local.dns_suffix}"]
      }

      # https://docs.aws.amazon.com/systems-manager/latest/userguide/secure-string-parameter-kms-encryption.html
      condition {
        test     = "StringEquals"
        variable = "kms:EncryptionContext:PARAMETER_ARN"
        values   = local.parameter_arns
      }
    }
  }
}

# Visibility timeout and window as AWS recommends: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
resource "aws_lambda_event_source_mapping" "signals" {
  event_source_arn                   = aws_sqs_queue.signals.arn
  function_name                      = module.route_alerts.arn
  batch_size                         = 100
  maximum_batching_window_in_seconds = var.batching_window_seconds
}

# An item for each group of problems. A restored table would be out of date, so there is no backup.
resource "aws_dynamodb_table" "alerts" {
  #checkov:skip=CKV_AWS_28: it holds what is open now; old states are of no use
  name         = local.name
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "group_name"

  attribute {
    name = "group_name"
    type = "S"
  }

  ttl {
    attribute_name = "expires_at"
    enabled        = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.kms_key_arn
  }
}
