# The common part of all stages on AWS. Each environment links to this file. To add a stage, copy a folder:
#
#   cp -R terraform/environments/dev terraform/environments/qa
#   make bootstrap STAGE=qa ARGS="--region eu-central-1"
#   make plan STAGE=qa
#   make apply STAGE=qa

terraform {
  required_version = ">= 1.11.0" # the first version with locks in S3

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.62"
    }
  }

  # `make bootstrap` writes the bucket of the state to backend.hcl. tools/terraform_stage makes the key from the stage.
  # https://developer.hashicorp.com/terraform/language/backend/s3#state-locking
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

variable "region" {
  description = "AWS region of the stage. tools/terraform_stage sets it to the region of the state, unless you set TF_VAR_region."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "The region must be an AWS region, such as eu-central-1."
  }
}

variable "tags" {
  description = "Tags of every resource of the stage, in addition to project, stage and version. Example: a cost centre."
  type        = map(string)
  default     = {}

  # https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html
  validation {
    condition     = alltrue([for name in keys(var.tags) : can(regex("^.{1,128}$", name)) && !can(regex("^(?i:aws:)|^(project|stage|version)$", name))])
    error_message = "Each name in tags must be 1 to 128 characters, must not be project, stage or version, and must not begin with aws:."
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = merge(var.tags, {
      project = "serverless-job-manager"
      stage   = local.stage
      version = local.version
    })
  }
}

locals {
  # The folder's name, so that a copied folder does not name the stage that it was copied from.
  stage           = basename(abspath(path.root))
  version         = trimspace(file("${path.root}/../../version.txt"))
  packages_dir    = "${path.root}/../../../build/lambda"
  jobs_managed_in = "terraform/environments/${local.stage}/jobs.tf"
}
