# A stage in an emulator on your machine.

terraform {
  required_version = ">= 1.10.0"

  # The newest provider that is available without the Terraform registry; see local/terraform_provider.py.
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "= 3.39.0"
    }
  }
}

locals {
  # The emulator's credentials, not secret.
  access_key = "test"
  secret_key = "test"
  region     = "us-east-1"

  packages_dir = coalesce(var.packages_dir, "${path.root}/../../../build/local")
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
    cloudwatch       = var.endpoint
    cloudwatchevents = var.endpoint
    cloudwatchlogs   = var.endpoint
    dynamodb         = var.endpoint
    ec2              = var.endpoint
    iam              = var.endpoint
    kms              = var.endpoint
    lambda           = var.endpoint
    s3               = var.endpoint
    sns              = var.endpoint
    sqs              = var.endpoint
    stepfunctions    = var.endpoint
    sts              = var.endpoint
  }

  default_tags {
    tags = {
      project = "serverless-job-manager"
      stage   = var.stage
    }
  }
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

# A topic of a service, which jobs of this stage may target.
resource "aws_sns_topic" "of_a_service" {
  name              = "sjm-${var.stage}-of-a-service"
  kms_master_key_id = "alias/aws/sns"
}

module "stage" {
  source = "../.."

  stage           = var.stage
  packages_dir    = local.packages_dir
  packages_bucket = one(distinct([for object in aws_s3_bucket_object.package : object.bucket]))

  runtime                  = "python3.8" # the newest that 3.39 accepts; the emulator runs its own Python
  log_level                = var.log_level
  log_retention_days       = 1
  execution_retention_days = 7
  reconcile_schedule       = "rate(1 day)" # so that it runs only on request
  notification_topic_arns  = [aws_sns_topic.of_a_service.arn]
  api_url_format           = "${trimsuffix(var.endpoint, "/")}/_aws/execute-api/%s/$default"
  require_tls              = false # the emulator uses plain http
  saved_queries            = false # the emulator cannot store them
  allow_private_targets    = true
  allow_loopback_targets   = true # services run on this machine
  allow_http_targets       = true
  reap_grace_seconds       = 5 # so that tests do not wait long

  jobs = var.jobs

  command_environment = {
    AWS_ENDPOINT_URL      = var.endpoint
    AWS_ACCESS_KEY_ID     = local.access_key
    AWS_SECRET_ACCESS_KEY = local.secret_key
  }
}
