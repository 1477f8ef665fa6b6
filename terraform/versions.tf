terraform {
  required_version = ">= 1.10.0"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # The local stage runs on 3.39, AWS on 6.x: use only arguments that both accept.
      version = ">= 3.39.0, < 7.0.0"
    }
  }
}
