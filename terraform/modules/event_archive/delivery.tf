# Firehose buffers for 5 minutes or 5 MB, its default. The arguments for that have different names in 3.39 and 6.x.

resource "aws_kinesis_firehose_delivery_stream" "archive" {
  name        = local.name
  destination = "extended_s3"

  server_side_encryption {
    enabled  = true
    key_type = "CUSTOMER_MANAGED_CMK"
    key_arn  = local.kms_key_arn
  }

  extended_s3_configuration {
    role_arn            = aws_iam_role.delivery.arn
    bucket_arn          = aws_s3_bucket.archive.arn
    prefix              = "${local.events_prefix}${local.day}"
    error_output_prefix = "${local.errors_prefix}!{firehose:error-output-type}/${local.day}"
    compression_format  = "GZIP"
    kms_key_arn         = local.kms_key_arn

    cloudwatch_logging_options {
      enabled         = true
      log_group_name  = aws_cloudwatch_log_group.delivery.name
      log_stream_name = aws_cloudwatch_log_stream.delivery.name
    }
  }

  depends_on = [aws_iam_role_policy.delivery]
}

resource "aws_cloudwatch_log_group" "delivery" {
  name              = "/aws/kinesisfirehose/${local.name}"
  retention_in_days = var.function_defaults.log_retention_days
  kms_key_id        = local.kms_key_arn
}

resource "aws_cloudwatch_log_stream" "delivery" {
  name           = "S3Delivery"
  log_group_name = aws_cloudwatch_log_group.delivery.name
}

# https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html
data "aws_iam_policy_document" "assume" {
  statement {
    sid     = "LetFirehoseTakeTheRole"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["firehose.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "sts:ExternalId"
      values   = [local.account_id]
    }
  }
}

resource "aws_iam_role" "delivery" {
  name               = local.name
  description        = "Role of the delivery stream ${local.name}"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

data "aws_iam_policy_document" "delivery" {
  statement {
    sid       = "LookAtTheBucket"
    actions   = ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"]
    resources = [aws_s3_bucket.archive.arn]
  }

  statement {
    sid       = "WriteToTheBucket"
    actions   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"]
    resources = ["${aws_s3_bucket.archive.arn}/*"]
  }

  statement {
    sid       = "EncryptWhatItWrites"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [local.kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${local.region}.${local.dns_suffix}"]
    }
  }

  statement {
    sid       = "SayWhatItCouldNotDeliver"
    actions   = ["logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.delivery.arn}:*"]
  }
}

resource "aws_iam_role_policy" "delivery" {
  name   = local.name
  role   = aws_iam_role.delivery.id
  policy = data.aws_iam_policy_document.delivery.json
}
