# Provider 3.39 needs this form. From 4.9 the provider accepts it too, and 6.x warns that the blocks are deprecated.
# The resources that replace them are unknown to 3.39.
# https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/s3_bucket

resource "aws_s3_bucket" "archive" {
  #checkov:skip=CKV2_AWS_62: nothing waits for new files; event_search reads them on demand
  #checkov:skip=CKV_AWS_144: a copy in another region doubles the cost; add one if you need it
  #checkov:skip=CKV_AWS_18: CloudTrail's data events show who reads it, if the account keeps them
  bucket        = "${local.name}-${local.account_id}"
  force_destroy = var.force_destroy

  server_side_encryption_configuration {
    rule {
      bucket_key_enabled = true

      apply_server_side_encryption_by_default {
        sse_algorithm     = "aws:kms"
        kms_master_key_id = local.kms_key_arn
      }
    }
  }

  # You can restore files that were deleted by mistake.
  versioning {
    enabled = true
  }

  lifecycle_rule {
    id                                     = "events"
    enabled                                = true
    prefix                                 = local.events_prefix
    abort_incomplete_multipart_upload_days = 7

    expiration {
      days = var.retention_days
    }

    noncurrent_version_expiration {
      days = 30
    }
  }

  lifecycle_rule {
    id      = "errors"
    enabled = true
    prefix  = local.errors_prefix

    expiration {
      days = 90
    }

    noncurrent_version_expiration {
      days = 30
    }
  }
}

resource "aws_s3_bucket_public_access_block" "archive" {
  bucket = aws_s3_bucket.archive.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

data "aws_iam_policy_document" "bucket" {
  count = var.require_tls ? 1 : 0

  statement {
    sid       = "RefuseCallsWithoutTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.archive.arn, "${aws_s3_bucket.archive.arn}/*"]

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

resource "aws_s3_bucket_policy" "archive" {
  count = var.require_tls ? 1 : 0

  bucket = aws_s3_bucket.archive.id
  policy = data.aws_iam_policy_document.bucket[0].json

  # S3 refuses concurrent changes of a bucket's access.
  depends_on = [aws_s3_bucket_public_access_block.archive]
}
