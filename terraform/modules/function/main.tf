# One Lambda function with what every function needs: its role, its log group, tracing.

locals {
  function_name = "${var.defaults.prefix}-${replace(var.name, "_", "-")}"
  package       = "${var.defaults.packages_dir}/${var.name}.zip"

  # Built from names, because the role comes before the function.
  function_arn = "${var.defaults.arn_prefix}:${local.function_name}"

  # With these, in the function's name, Lambda connects it to the VPC. AWS knows no narrower resource for them that
  # Lambda could work with. https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
  network_interface_actions = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
  ]
}

resource "aws_cloudwatch_log_group" "function" {
  #checkov:skip=CKV_AWS_338: how long logs are kept is for the stage to say: log_retention_days
  name              = "/aws/lambda/${local.function_name}"
  retention_in_days = var.defaults.log_retention_days
  kms_key_id        = var.defaults.kms_key_arn
}

data "aws_iam_policy_document" "assume" {
  statement {
    sid     = "LetLambdaTakeTheRole"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "function" {
  name               = local.function_name
  description        = "Role of the function ${local.function_name}"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

data "aws_iam_policy_document" "function" {
  source_policy_documents = var.policy == null ? [] : [var.policy]

  statement {
    sid       = "WriteItsOwnLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.function.arn}:*"]
  }

  # X-Ray knows no resource for these.
  statement {
    sid       = "SendTraces"
    actions   = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
    resources = ["*"]
  }

  dynamic "statement" {
    for_each = var.network == null ? [] : [1]

    content {
      sid       = "LetLambdaConnectItToTheNetwork"
      actions   = local.network_interface_actions
      resources = ["*"]
    }
  }

  # Only calls from inside the function carry this key: Lambda may, the function's code may not.
  # https://docs.aws.amazon.com/lambda/latest/dg/permissions-source-function-arn.html
  dynamic "statement" {
    for_each = var.network == null ? [] : [1]

    content {
      sid       = "KeepItsOwnCodeOffTheNetwork"
      effect    = "Deny"
      actions   = ["ec2:*"]
      resources = ["*"]

      condition {
        test     = "ArnEquals"
        variable = "lambda:SourceFunctionArn"
        values   = [local.function_arn]
      }
    }
  }
}

resource "aws_iam_role_policy" "function" {
  name   = local.function_name
  role   = aws_iam_role.function.id
  policy = data.aws_iam_policy_document.function.json
}

resource "aws_lambda_function" "function" {
  #checkov:skip=CKV_AWS_115: reserved for each function, the account's concurrency would be used up; where it matters, concurrency is set
  #checkov:skip=CKV_AWS_116: who is invoked asynchronously has a destination on failure; the others' callers see what failed
  #checkov:skip=CKV_AWS_117: only what reaches targets may need a VPC: network
  #checkov:skip=CKV_AWS_173: names, ARNs and limits only, nothing secret; Lambda encrypts them with its own key
  #checkov:skip=CKV_AWS_272: needs a signing profile of the account's; what is deployed is held against source_code_hash
  function_name    = local.function_name
  description      = var.description
  role             = aws_iam_role.function.arn
  runtime          = var.defaults.runtime
  handler          = "handler.handler"
  filename         = var.defaults.packages_bucket == null ? local.package : null
  s3_bucket        = var.defaults.packages_bucket
  s3_key           = var.defaults.packages_bucket == null ? null : "${var.name}.zip"
  source_code_hash = filebase64sha256(local.package)
  timeout          = var.timeout
  memory_size      = coalesce(var.memory_size, var.defaults.memory_size)

  reserved_concurrent_executions = coalesce(var.concurrency, -1) # -1: what the account has left

  environment {
    variables = merge(var.environment, {
      STAGE                        = var.defaults.stage
      PREFIX                       = var.defaults.prefix
      POWERTOOLS_SERVICE_NAME      = var.name
      POWERTOOLS_LOG_LEVEL         = var.defaults.log_level
      POWERTOOLS_METRICS_NAMESPACE = var.defaults.metrics_namespace
      METRICS_BY_JOB               = tostring(var.defaults.metrics_by_job)
    })
  }

  tracing_config {
    mode = "Active"
  }

  dynamic "vpc_config" {
    for_each = var.network == null ? [] : [var.network]

    content {
      subnet_ids         = vpc_config.value.subnet_ids
      security_group_ids = vpc_config.value.security_group_ids
    }
  }

  # Lambda would make the log group itself, without retention, and a first call without permissions would fail.
  depends_on = [aws_cloudwatch_log_group.function, aws_iam_role_policy.function]
}
