variable "region" {
  description = "AWS region of the stage."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "The region must be an AWS region, such as eu-central-1."
  }
}

variable "notification_topic_arns" {
  description = "SNS topics that jobs may target besides the stage's own."
  type        = list(string)
  default     = []
}
