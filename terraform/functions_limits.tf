# The functions behind the API's routes for limits.

module "put_limit" {
  source = "./modules/function"

  name        = "put_limit"
  defaults    = local.function_defaults
  description = "Creates or replaces a limit that several jobs of a service share."
  policy      = data.aws_iam_policy_document.put_limit.json

  environment = merge(local.waiting_environment, local.spread_environment)
}

data "aws_iam_policy_document" "put_limit" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_limits.json,
    data.aws_iam_policy_document.query_limits.json,
    data.aws_iam_policy_document.update_limits.json,
    data.aws_iam_policy_document.have_waiting_executions_started.json,
  ]
}

module "get_limit" {
  source = "./modules/function"

  name        = "get_limit"
  defaults    = local.function_defaults
  description = "Returns one limit, with the executions that hold its slots."
  policy      = data.aws_iam_policy_document.get_limit.json

  environment = {
    LIMITS_TABLE = aws_dynamodb_table.limits.name
  }
}

data "aws_iam_policy_document" "get_limit" {
  source_policy_documents = [data.aws_iam_policy_document.read_limits.json]
}

module "list_limits" {
  source = "./modules/function"

  name        = "list_limits"
  defaults    = local.function_defaults
  description = "Lists the limits of a service."
  policy      = data.aws_iam_policy_document.list_limits.json

  environment = {
    LIMITS_TABLE   = aws_dynamodb_table.limits.name
    PAGING_KEY_ARN = aws_kms_key.stage.arn
  }
}

data "aws_iam_policy_document" "list_limits" {
  source_policy_documents = [
    data.aws_iam_policy_document.query_limits.json,
    data.aws_iam_policy_document.seal_page_tokens.json,
  ]
}

module "delete_limit" {
  source = "./modules/function"

  name        = "delete_limit"
  defaults    = local.function_defaults
  description = "Deletes a limit that no job names."
  policy      = data.aws_iam_policy_document.delete_limit.json
  timeout     = 29 # it reads all jobs of the service

  environment = merge(local.waiting_environment, {
    JOBS_TABLE = aws_dynamodb_table.jobs.name
  })
}

data "aws_iam_policy_document" "delete_limit" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_limits.json,
    data.aws_iam_policy_document.have_waiting_executions_started.json,
  ]

  statement {
    sid       = "DeleteLimits"
    actions   = ["dynamodb:DeleteItem"]
    resources = [aws_dynamodb_table.limits.arn]
  }

  statement {
    sid       = "FindJobsWithALimit"
    actions   = ["dynamodb:Query"]
    resources = [aws_dynamodb_table.jobs.arn]
  }
}
