# One key encrypts everything that a stage stores: tables, topics, queues and logs.
resource "aws_kms_key" "stage" {
  description             = "Serverless Job Manager, stage ${local.prefix}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json
}

resource "aws_kms_alias" "stage" {
  name          = "alias/${local.prefix}"
  target_key_id = aws_kms_key.stage.key_id
}

# In a key policy, the resource "*" means the key itself.
data "aws_iam_policy_document" "key" {
  statement {
    sid       = "LetIamPoliciesOfTheAccountDecide"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account_id}:root"]
    }
  }

  # DynamoDB calls KMS in its caller's name. So a principal that may use a table may use the key, but only through
  # DynamoDB, as in the policy of the AWS managed key aws/dynamodb. No role needs a KMS statement for the tables.
  statement {
    sid = "LetCallersOfTheTablesUseTheKeyThroughDynamodb"
    actions = [
      "kms:CreateGrant",
      "kms:Decrypt",
      "kms:DescribeKey",
      "kms:Encrypt",
      "kms:GenerateDataKey*",
      "kms:ReEncrypt*",
    ]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["*"]
    }

    condition {
      test     = "StringEquals"
      variable = "kms:CallerAccount"
      values   = [local.account_id]
    }

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["dynamodb.${local.region}.${local.dns_suffix}"]
    }
  }

  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
  statement {
    sid = "LetCloudwatchLogsKeepTheLogsOfThisStage"
    actions = [
      "kms:Decrypt*",
      "kms:Describe*",
      "kms:Encrypt*",
      "kms:GenerateDataKey*",
      "kms:ReEncrypt*",
    ]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${local.region}.${local.dns_suffix}"]
    }

    condition {
      test     = "ArnLike"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values = [
        for group in ["lambda", "vendedlogs/states", "vendedlogs/apigateway", "kinesisfirehose"] :
        "arn:${local.partition}:logs:${local.place}:log-group:/aws/${group}/${local.prefix}-*"
      ]
    }
  }

  # EventBridge sends to the encrypted dead-letter queues. AWS documents that it supports neither aws:SourceArn nor
  # aws:SourceAccount for encrypted topics. We assume the same for queues; the policies of the queues name the rules.
  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
  # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
  statement {
    sid       = "LetScheduleRulesEncryptDeadLetters"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
  }

  # Topics deliver to encrypted queues: those of subscribers, and the dead-letter queues of subscriptions.
  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-least-privilege-policy.html
  statement {
    sid       = "LetTopicsOfTheAccountEncryptForQueues"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["sns.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${local.partition}:sns:${local.place}:*"]
    }
  }

  # https://repost.aws/knowledge-center/cloudwatch-configure-alarm-sns
  statement {
    sid       = "LetAlarmsEncryptWhatTheyPublish"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }
  }
}
