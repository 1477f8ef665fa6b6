# A queue of the events of the last 14 days. On request, the events of a time range are sent to a target again.
#
# You cannot read SQS by time, so a replay reads the whole queue. Events in the range go to the target. Every event, in
# the range or not, goes to a second queue, from which SQS moves it back afterwards. No event is lost.

data "aws_partition" "current" {}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

locals {
  name        = "${var.function_defaults.prefix}-event-replay"
  aside_name  = "${local.name}-aside"
  kms_key_arn = var.function_defaults.kms_key_arn
  place       = "${data.aws_region.current.id}:${data.aws_caller_identity.current.account_id}"
  queue_arn   = "arn:${data.aws_partition.current.partition}:sqs:${local.place}:${local.name}"

  can_replay  = var.target != null
  is_on       = var.replay != null
  target_kind = local.can_replay ? split(":", var.target.arn)[2] : "none"

  # What the function may do, by the kind of target.
  target_actions = {
    none   = []
    sqs    = ["sqs:GetQueueUrl", "sqs:SendMessage"]
    sns    = ["sns:Publish"]
    lambda = ["lambda:InvokeFunction"]
  }

  days         = 14
  kept_seconds = local.days * 24 * 60 * 60
}

module "subscription" {
  source = "../subscription"

  name                   = local.name
  topic_arn              = var.topic_arn
  queue                  = aws_sqs_queue.events
  filter                 = var.filter
  raw_message_delivery   = false # the JSON envelope has the time when the event was published
  dead_letter_queue_name = local.aside_name
  kms_key_arn            = local.kms_key_arn
  require_tls            = var.require_tls
  alarms_topic           = { arn = var.alarms_topic_arn }
  alarm_description      = "Events wait in ${local.aside_name}. A replay put them there, or SNS could not deliver them to ${local.name}. When no replay runs, move them back within ${local.days} days: aws sqs start-message-move-task --source-arn <its ARN> --destination-arn <${local.name}'s ARN>"
}

resource "aws_sqs_queue" "events" {
  name                       = local.name
  kms_master_key_id          = local.kms_key_arn
  message_retention_seconds  = local.kept_seconds
  visibility_timeout_seconds = 6 * local.replay_timeout

  redrive_policy = jsonencode({
    deadLetterTargetArn = module.subscription.dead_letter_queue_arn
    maxReceiveCount     = 100 # messages count as received even if the function has no capacity for them
  })
}
