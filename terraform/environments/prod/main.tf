terraform {
  required_version = ">= 1.10.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }

  # Where the state is kept differs by account: copy backend.hcl.example to backend.hcl, fill it in, and
  #   terraform init -backend-config=backend.hcl
  backend "s3" {
    key     = "serverless-job-manager/prod.tfstate"
    encrypt = true
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      project = "serverless-job-manager"
      stage   = "prod"
    }
  }
}

module "stage" {
  source = "../.."

  stage        = "prod"
  packages_dir = "${path.root}/../../../build/lambda"

  notification_topic_arns = var.notification_topic_arns

  jobs            = local.jobs
  jobs_managed_in = "terraform/environments/prod/jobs.tf"

  log_level                = "INFO"
  log_retention_days       = 90
  execution_retention_days = 365
  point_in_time_recovery   = true
}
