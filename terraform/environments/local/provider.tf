# For a current provider, which finds the emulator by AWS_ENDPOINT_URL: `make up PROVIDER=installed`. By default, the
# local stage uses packaged_provider/provider.tf in the place of this file.

terraform {
  required_version = ">= 1.10.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100.0, < 7.0.0"
    }
  }
}

provider "aws" {
  region     = local.region
  access_key = local.access_key
  secret_key = local.secret_key

  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true

  default_tags {
    tags = {
      project = "serverless-job-manager"
      stage   = var.stage
      version = local.version
    }
  }
}

locals {
  runtime         = "python3.13" # the emulator runs its own Python
  packages_bucket = one(distinct([for object in aws_s3_object.package : object.bucket]))
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
}

resource "aws_s3_object" "package" {
  #checkov:skip=CKV_AWS_186: exists only in an emulator
  for_each = fileset(local.packages_dir, "*.zip")

  bucket = aws_s3_bucket.packages.bucket
  key    = each.key
  source = "${local.packages_dir}/${each.key}"
  etag   = filemd5("${local.packages_dir}/${each.key}")
}
