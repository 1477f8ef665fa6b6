# What all stages in AWS have in common; each environment links here. A new stage is a copy of another's folder:
#
#   cp -R terraform/environments/dev terraform/environments/qa
#   make bootstrap STAGE=qa ARGS="--region eu-central-1"
#   make apply STAGE=qa

terraform {
  required_version = ">= 1.11.0" # since then S3 itself may keep the lock

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }

  # Where the state is kept differs by account and stage: the bucket is in backend.hcl, which `make bootstrap` writes,
  # the key is made of the stage by tools/terraform_stage.
  # https://developer.hashicorp.com/terraform/language/backend/s3#state-locking
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

variable "region" {
  description = "AWS region of the stage. From tools/terraform_stage it gets the region of the state, unless TF_VAR_region says another."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "The region must be an AWS region, such as eu-central-1."
  }
}

variable "tags" {
  description = "Tags of all that the stage makes, besides project and stage: a cost centre, for instance."
  type        = map(string)
  default     = {}

  # https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html
  validation {
    condition     = alltrue([for name in keys(var.tags) : can(regex("^.{1,128}$", name)) && !can(regex("^(?i:aws:)|^(project|stage)$", name))])
    error_message = "Each of tags must have a name of 1 to 128 characters that is not project or stage, and does not begin with aws:."
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = merge(var.tags, {
      project = "serverless-job-manager"
      stage   = local.stage
    })
  }
}

locals {
  # The folder's name, so that nothing in a copied folder still names the stage that it was copied from.
  stage           = basename(abspath(path.root))
  packages_dir    = "${path.root}/../../../build/lambda"
  jobs_managed_in = "terraform/environments/${local.stage}/jobs.tf"
}
