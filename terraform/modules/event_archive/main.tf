# An archive of events: topic → queue → function → Firehose → S3, compressed, with a prefix for each day.
#
# SNS could deliver to Firehose directly. Firehose would then bill each event as 5 KB, ten times its size, and SNS would
# bill $0.19 a million. The function packs a batch into one record. While Firehose or the bucket's key fails, events
# wait in the queue for days, where you can see them, and not in SNS's retries.
# https://aws.amazon.com/firehose/pricing/ https://aws.amazon.com/sns/pricing/

data "aws_partition" "current" {}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

locals {
  name        = "${var.function_defaults.prefix}-event-archive"
  kms_key_arn = var.function_defaults.kms_key_arn
  partition   = data.aws_partition.current.partition
  dns_suffix  = data.aws_partition.current.dns_suffix
  region      = data.aws_region.current.id
  account_id  = data.aws_caller_identity.current.account_id

  archive_timeout = 30

  # In Hive's form, which readers of partitioned data understand.
  events_prefix = "events/"
  errors_prefix = "errors/"
  day           = "day=!{timestamp:yyyy-MM-dd}/" # when Firehose received the event, in UTC
}

module "subscription" {
  source = "../subscription"

  name                   = local.name
  topic_arn              = var.topic_arn
  queue                  = aws_sqs_queue.events
  filter                 = var.filter
  dead_letter_queue_name = "${local.name}-dead-letters"
  kms_key_arn            = local.kms_key_arn
  require_tls            = var.require_tls
  alarms_topic           = { arn = var.alarms_topic_arn }
  alarm_description      = "Events could not be archived and wait in ${local.name}-dead-letters for 14 days. The log of ${var.function_defaults.prefix}-archive-events says why. Fix the cause, then run: aws sqs start-message-move-task --source-arn <that queue's ARN> --destination-arn <${local.name}'s ARN>"
}

resource "aws_sqs_queue" "events" {
  name                       = local.name
  kms_master_key_id          = local.kms_key_arn
  message_retention_seconds  = 14 * 24 * 60 * 60
  visibility_timeout_seconds = 6 * local.archive_timeout + var.batching_window_seconds

  redrive_policy = jsonencode({
    deadLetterTargetArn = module.subscription.dead_letter_queue_arn
    maxReceiveCount     = 10
  })
}

module "archive_events" {
  source = "../function"

  name        = "archive_events"
  defaults    = var.function_defaults
  description = "Sends events to the archive's delivery stream, in batches."
  policy      = data.aws_iam_policy_document.archive_events.json
  timeout     = local.archive_timeout

  environment = {
    DELIVERY_STREAM = local.name
  }
}

data "aws_iam_policy_document" "archive_events" {
  statement {
    sid       = "TakeEventsFromTheQueue"
    actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
    resources = ["arn:${local.partition}:sqs:${local.region}:${local.account_id}:${local.name}"]
  }

  statement {
    sid       = "DecryptEvents"
    actions   = ["kms:Decrypt"]
    resources = [local.kms_key_arn]
  }

  statement {
    sid       = "HandEventsToTheArchive"
    actions   = ["firehose:PutRecord"]
    resources = [aws_kinesis_firehose_delivery_stream.archive.arn]
  }
}

# Visibility timeout and window as AWS recommends: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
resource "aws_lambda_event_source_mapping" "events" {
  event_source_arn                   = aws_sqs_queue.events.arn
  function_name                      = module.archive_events.arn
  batch_size                         = 500
  maximum_batching_window_in_seconds = var.batching_window_seconds
}
