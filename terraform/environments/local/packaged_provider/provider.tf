# For version 3.39, which is available without the Terraform registry: the local stage uses this file in the place of
# ../provider.tf, unless you set PROVIDER=installed. See local/terraform_provider.py.

terraform {
  required_version = ">= 1.10.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "= 3.39.0"
    }
  }
}

provider "aws" {
  region     = local.region
  access_key = local.access_key
  secret_key = local.secret_key

  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_get_ec2_platforms      = true
  s3_force_path_style         = true

  # 3.39 ignores AWS_ENDPOINT_URL. Without ec2 here, each plan would wait for AWS's endpoint.
  endpoints {
    apigateway       = var.endpoint
    athena           = var.endpoint
    cloudwatch       = var.endpoint
    cloudwatchevents = var.endpoint
    cloudwatchlogs   = var.endpoint
    dynamodb         = var.endpoint
    ec2              = var.endpoint
    firehose         = var.endpoint
    glue             = var.endpoint
    iam              = var.endpoint
    kms              = var.endpoint
    lambda           = var.endpoint
    s3               = var.endpoint
    sns              = var.endpoint
    sqs              = var.endpoint
    ssm              = var.endpoint
    stepfunctions    = var.endpoint
    sts              = var.endpoint
  }

  default_tags {
    tags = {
      project = "serverless-job-manager"
      stage   = var.stage
      version = local.version
    }
  }
}

locals {
  runtime         = "python3.8" # the newest that 3.39 accepts; the emulator runs its own Python
  packages_bucket = one(distinct([for object in aws_s3_bucket_object.package : object.bucket]))
}

# With a bucket, Terraform creates all functions at once. Without it, the provider uploads one zip every 5 s.
resource "aws_s3_bucket" "packages" {
  #checkov:skip=CKV_AWS_18: exists only in an emulator
  #checkov:skip=CKV_AWS_21: exists only in an emulator
  #checkov:skip=CKV_AWS_144: exists only in an emulator
  #checkov:skip=CKV_AWS_145: exists only in an emulator
  #checkov:skip=CKV2_AWS_6: exists only in an emulator
  #checkov:skip=CKV2_AWS_61: exists only in an emulator
  #checkov:skip=CKV2_AWS_62: exists only in an emulator
  bucket        = "sjm-${var.stage}-packages"
  force_destroy = true

  # This is S3's default. Without the block, each plan of 3.39 would remove it.
  server_side_encryption_configuration {
    rule {
      apply_server_side_encryption_by_default {
        sse_algorithm = "AES256"
      }
    }
  }
}

resource "aws_s3_bucket_object" "package" {
  #checkov:skip=CKV_AWS_186: exists only in an emulator
  for_each = fileset(local.packages_dir, "*.zip")

  bucket = aws_s3_bucket.packages.bucket
  key    = each.key
  source = "${local.packages_dir}/${each.key}"
  etag   = filemd5("${local.packages_dir}/${each.key}")
}
