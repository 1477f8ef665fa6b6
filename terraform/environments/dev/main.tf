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
    key     = "serverless-job-manager/dev.tfstate"
    encrypt = true
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      project = "serverless-job-manager"
      stage   = "dev"
    }
  }
}

module "stage" {
  source = "../.."

  stage        = "dev"
  packages_dir = "${path.root}/../../../build/lambda"

  notification_topic_arns = var.notification_topic_arns

  jobs            = local.jobs
  jobs_managed_in = "terraform/environments/dev/jobs.tf"

  log_level                = "DEBUG"
  log_retention_days       = 14
  execution_retention_days = 30
}
