terraform {
  required_version = ">= 1.10.0"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # The local stage uses 3.39, and stages on AWS use 6.x. Use only arguments that both accept.
      version = ">= 3.39.0, < 7.0.0"
    }
  }
}
