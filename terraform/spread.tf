# A queue keeps the executions of spread jobs, and those that wait under a limit with per_second, until their time. If
# var.spread is false, there is none of this.
#
# Lambda polls the queue all the time, also while it is empty: docs/cost.md has the price.

locals {
  spread_timeout = 60

  # The ARN is built from the name, because it is in policies.
  spread_queue_name = "${local.prefix}-spread-starts"
  spread_queue_arn  = "arn:${local.partition}:sqs:${local.place}:${local.spread_queue_name}"

  # For the functions that let executions wait for their time under a limit.
  pacing_environment = {
    SPREAD_QUEUE_URL = var.spread ? aws_sqs_queue.spread[0].id : ""
  }

  # For the functions that must know whether the stage has the queue.
  spread_environment = {
    SPREAD = tostring(var.spread)
  }
}

# Timeout and number of receives as AWS recommends: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
resource "aws_sqs_queue" "spread" {
  count = var.spread ? 1 : 0

  name                       = local.spread_queue_name
  kms_master_key_id          = aws_kms_key.stage.arn
  message_retention_seconds  = 14 * 24 * 60 * 60
  visibility_timeout_seconds = 6 * local.spread_timeout

  # The rest of a tick, so `make redrive` invokes the function with it.
  redrive_policy = jsonencode({
    deadLetterTargetArn = module.tick_dead_letters.arn
    maxReceiveCount     = 5
  })
}

data "aws_iam_policy_document" "spread_queue" {
  count = var.spread && var.require_tls ? 1 : 0

  statement {
    sid       = "RefuseCallsWithoutTls"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [local.spread_queue_arn]

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

resource "aws_sqs_queue_policy" "spread" {
  count = var.spread && var.require_tls ? 1 : 0

  queue_url = aws_sqs_queue.spread[0].id
  policy    = data.aws_iam_policy_document.spread_queue[0].json
}

# A message of more than 15 minutes comes back before its time and is sent again. For a spread job that is four times at
# most. Lambda stops a chain of 16 invocations as a loop, so an execution that waits under a limit for four hours is then
# started by the sweep: https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
module "start_spread_executions" {
  source = "./modules/function"
  count  = var.spread ? 1 : 0

  name        = "start_spread_executions"
  defaults    = local.function_defaults
  description = "Starts executions of spread jobs, and those that wait under a limit, when their time has come."
  policy      = data.aws_iam_policy_document.start_spread_executions.json
  timeout     = local.spread_timeout
  memory_size = max(512, var.memory_size) # less would have too little CPU to start hundreds of executions a second

  environment = merge(local.machines_environment, local.spread_environment, local.pacing_environment, {
    EXECUTIONS_TABLE             = aws_dynamodb_table.executions.name
    START_WAITING_EXECUTIONS_ARN = local.start_waiting_arn
  })
}

data "aws_iam_policy_document" "start_spread_executions" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_many_executions.json,
    data.aws_iam_policy_document.start_run_job.json,
    data.aws_iam_policy_document.delay_spread_starts.json,
    data.aws_iam_policy_document.have_waiting_executions_started.json,
    data.aws_iam_policy_document.encrypt_for_queues.json,
  ]

  # Lambda polls in the function's name.
  # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
  statement {
    sid       = "TakeSpreadStartsFromTheQueue"
    actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
    resources = [local.spread_queue_arn]
  }
}

# One message at a time, so that only a message that fails stays in the queue. (Provider 3.39 does not know
# ReportBatchItemFailures.) Messages of one time are few, because each has many jobs.
resource "aws_lambda_event_source_mapping" "spread" {
  count = var.spread ? 1 : 0

  event_source_arn = aws_sqs_queue.spread[0].arn
  function_name    = module.start_spread_executions[0].arn
  batch_size       = 1

  # Terraform destroys it before it stops the executions, so no spread job starts after that.
  depends_on = [terraform_data.schedule_rules]
}
