# The results of queries, kept for a month. Provider 3.39 needs this form; see the module event_archive.

resource "aws_s3_bucket" "results" {
  #checkov:skip=CKV2_AWS_62: nothing waits for new files; Athena itself reports that a query has ended
  #checkov:skip=CKV_AWS_144: you can run any query again
  #checkov:skip=CKV_AWS_18: CloudTrail's data events show who reads it, if the account keeps them
  #checkov:skip=CKV_AWS_21: you can run any query again
  bucket        = "${local.name}-${local.account_id}"
  force_destroy = true # you can run any query again

  server_side_encryption_configuration {
    rule {
      bucket_key_enabled = true

      apply_server_side_encryption_by_default {
        sse_algorithm     = "aws:kms"
        kms_master_key_id = local.kms_key_arn
      }
    }
  }

  lifecycle_rule {
    id                                     = "results"
    enabled                                = true
    abort_incomplete_multipart_upload_days = 7

    expiration {
      days = 30
    }
  }
}

resource "aws_s3_bucket_public_access_block" "results" {
  bucket = aws_s3_bucket.results.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

data "aws_iam_policy_document" "results" {
  count = var.require_tls ? 1 : 0

  statement {
    sid       = "RefuseCallsWithoutTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.results.arn, "${aws_s3_bucket.results.arn}/*"]

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

resource "aws_s3_bucket_policy" "results" {
  count = var.require_tls ? 1 : 0

  bucket = aws_s3_bucket.results.id
  policy = data.aws_iam_policy_document.results[0].json

  depends_on = [aws_s3_bucket_public_access_block.results]
}
