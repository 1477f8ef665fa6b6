# One Lambda function with what every function needs: a role, a log group, tracing.

locals {
  function_name = "${var.defaults.prefix}-${replace(var.name, "_", "-")}"
  package       = "${var.defaults.packages_dir}/${var.name}.zip"

  # Built from names, because the role exists before the function.
  function_arn = "${var.defaults.arn_prefix}:${local.function_name}"

  # Lambda uses these in the function's name to connect it to the VPC, and they must be allowed on every resource.
  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
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
  #checkov:skip=CKV_AWS_338: the stage decides how long to keep logs: log_retention_days
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

  # These X-Ray actions take no resource.
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

  # Only calls by the function's code carry this condition key. So Lambda may use the actions, and the code may not.
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
  #checkov:skip=CKV_AWS_115: a reservation for each function would use up the account's concurrency; concurrency is set where it matters
  #checkov:skip=CKV_AWS_116: functions that are invoked asynchronously have a destination on failure; callers of the others see the error
  #checkov:skip=CKV_AWS_117: only functions that reach targets may need a VPC: network
  #checkov:skip=CKV_AWS_173: the variables are names, ARNs and limits, not secrets; Lambda encrypts them with its own key
  #checkov:skip=CKV_AWS_272: signing needs a signing profile in the account; source_code_hash already pins what is deployed
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

  reserved_concurrent_executions = coalesce(var.concurrency, -1) # -1: no reservation

  environment {
    variables = merge(var.environment, {
      STAGE                        = var.defaults.stage
      PREFIX                       = var.defaults.prefix
      POWERTOOLS_SERVICE_NAME      = var.name
      POWERTOOLS_LOG_LEVEL         = var.defaults.log_level
      POWERTOOLS_METRICS_NAMESPACE = var.defaults.metrics_namespace
      METRICS_BY_STAGE             = tostring(var.defaults.metrics_by_stage)
      METRICS_BY_SERVICE           = tostring(var.defaults.metrics_by_service)
      METRICS_BY_JOB               = tostring(var.defaults.metrics_by_job)
      METRICS_BY_FUNCTION          = tostring(var.defaults.metrics_by_function)
      MEMORY_ALARM_PCT             = tostring(floor(var.defaults.memory_alarm_pct))
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

  # Otherwise Lambda would create the log group without retention, and a first call without permissions would fail.
  depends_on = [aws_cloudwatch_log_group.function, aws_iam_role_policy.function]
}
