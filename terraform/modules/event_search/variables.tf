variable "archive" {
  description = "Location of the events: the output archive of the module event_archive."
  type = object({
    bucket         = string
    events_prefix  = string
    retention_days = number
  })

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.archive.bucket))
    error_message = "The bucket of archive must be the name of an S3 bucket."
  }

  validation {
    condition     = can(regex("^([^/]+/)+$", var.archive.events_prefix))
    error_message = "The events_prefix of archive must end with a slash, such as events/."
  }

  validation {
    condition     = var.archive.retention_days >= 1 && floor(var.archive.retention_days) == var.archive.retention_days
    error_message = "The retention_days of archive must be a whole number of days."
  }
}

variable "function_defaults" {
  description = "Settings from the stage's output function_defaults: the prefix of every name, and the key that encrypts everything."
  type = object({
    prefix      = string
    kms_key_arn = string
  })

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,28}$", var.function_defaults.prefix))
    error_message = "The prefix of function_defaults must be 2 to 29 lower case letters, digits and dashes, so that every derived name fits AWS's limits."
  }

  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:", var.function_defaults.kms_key_arn))
    error_message = "The kms_key_arn of function_defaults must be the ARN of a KMS key."
  }
}

variable "alarms_topic_arn" {
  description = "ARN of the topic that receives the alarms, such as a stage's output alarms_topic_arn."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:sns:", var.alarms_topic_arn))
    error_message = "The alarms_topic_arn must be the ARN of an SNS topic."
  }
}

variable "scanned_gigabytes_limit" {
  description = "Number of GB that one query may scan before Athena ends it. At $5 a terabyte, 100 GB cost $0.50."
  type        = number
  default     = 100

  validation {
    condition     = var.scanned_gigabytes_limit >= 1 && floor(var.scanned_gigabytes_limit) == var.scanned_gigabytes_limit
    error_message = "The scanned_gigabytes_limit must be a whole number of 1 or more."
  }
}

variable "alarm_scanned_gigabytes" {
  description = "Number of GB, scanned by all queries within an hour, that raises an alarm. At $5 a terabyte, 1000 GB cost $5."
  type        = number
  default     = 1000

  validation {
    condition     = var.alarm_scanned_gigabytes >= 1
    error_message = "The alarm_scanned_gigabytes must be 1 or more."
  }
}

variable "require_tls" {
  description = "Whether to refuse calls that are not encrypted in transit."
  type        = bool
  default     = true
}
