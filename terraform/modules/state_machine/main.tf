# One state machine with its role and its log group.

data "aws_partition" "current" {}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

locals {
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.id
  account_id = data.aws_caller_identity.current.account_id

  definition = templatefile(var.definition_file, merge(
    { partition = local.partition },
    { for name, arn in var.functions : "${name}_arn" => arn },
  ))
}

# Log groups under /aws/vendedlogs/ do not add to the resource policy of CloudWatch Logs, whose size is limited.
resource "aws_cloudwatch_log_group" "machine" {
  #checkov:skip=CKV_AWS_338: the stage decides how long to keep logs: log_retention_days
  name              = "/aws/vendedlogs/states/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

data "aws_iam_policy_document" "assume" {
  statement {
    sid     = "LetStepFunctionsTakeTheRole"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["states.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${local.partition}:states:${local.region}:${local.account_id}:*"]
    }
  }
}

resource "aws_iam_role" "machine" {
  name               = var.name
  description        = "Role of the state machine ${var.name}"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

data "aws_iam_policy_document" "machine" {
  # The definition invokes functions without a qualifier: https://docs.aws.amazon.com/lambda/latest/dg/lambda-api-permissions-ref.html
  statement {
    sid       = "InvokeItsFunctions"
    actions   = ["lambda:InvokeFunction"]
    resources = concat(values(var.functions), values(var.former_functions))
  }

  # These X-Ray actions take no resource: https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html
  statement {
    sid = "SendTraces"
    actions = [
      "xray:GetSamplingRules",
      "xray:GetSamplingTargets",
      "xray:PutTelemetryRecords",
      "xray:PutTraceSegments",
    ]
    resources = ["*"]
  }

  # The actions for the delivery of vended logs take no resource.
  # https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
  statement {
    sid = "DeliverItsLogs"
    actions = [
      "logs:CreateLogDelivery",
      "logs:DeleteLogDelivery",
      "logs:DescribeLogGroups",
      "logs:DescribeResourcePolicies",
      "logs:GetLogDelivery",
      "logs:ListLogDeliveries",
      "logs:PutResourcePolicy",
      "logs:UpdateLogDelivery",
    ]
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "machine" {
  name   = var.name
  role   = aws_iam_role.machine.id
  policy = data.aws_iam_policy_document.machine.json
}

resource "aws_sfn_state_machine" "machine" {
  #checkov:skip=CKV_AWS_285: execution data contains what callers sent; errors are logged without it
  name       = var.name
  type       = var.type
  role_arn   = aws_iam_role.machine.arn
  definition = local.definition

  logging_configuration {
    log_destination        = "${aws_cloudwatch_log_group.machine.arn}:*"
    level                  = "ERROR"
    include_execution_data = false # inputs and outputs contain what callers sent
  }

  tracing_configuration {
    enabled = true
  }

  # Step Functions checks on creation that the role may deliver logs.
  depends_on = [aws_iam_role_policy.machine]
}
