variable "topic_arn" {
  description = "ARN of the topic of events, such as a stage's output events_topic_arn."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$", var.topic_arn))
    error_message = "The topic_arn must be the ARN of a standard SNS topic."
  }
}

variable "function_defaults" {
  description = "Settings from the stage's output function_defaults: the prefix of every name, the packages of the functions, the retention of logs, and the key that encrypts everything."
  type = object({
    prefix              = string
    arn_prefix          = string
    stage               = string
    packages_dir        = string
    packages_bucket     = string
    runtime             = string
    memory_size         = number
    log_level           = string
    log_retention_days  = number
    kms_key_arn         = string
    metrics_namespace   = string
    metrics_by_stage    = bool
    metrics_by_service  = bool
    metrics_by_job      = bool
    metrics_by_function = bool
    memory_alarm_pct    = number
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

variable "filter" {
  description = "Events to archive: by attribute the values that pass, as in the module subscription. Without a filter, all events are archived."
  type        = map(list(string))
  default     = {}
}

variable "retention_days" {
  description = "Number of days to keep an event in the archive."
  type        = number
  default     = 400

  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 36500 && floor(var.retention_days) == var.retention_days
    error_message = "The retention_days must be a whole number of days from 1 to 36500."
  }
}

variable "batching_window_seconds" {
  description = "Number of seconds to collect events before the function is invoked. A longer window means fewer invocations and records."
  type        = number
  default     = 60

  validation {
    condition     = var.batching_window_seconds >= 1 && var.batching_window_seconds <= 300 && floor(var.batching_window_seconds) == var.batching_window_seconds
    error_message = "The batching_window_seconds must be a whole number from 1 to 300, because without a window Lambda accepts no batch of more than 10."
  }
}

variable "alarm_age_seconds" {
  description = "Age in seconds at which an event that is not in the bucket yet raises an alarm. It must exceed the 5 minutes for which Firehose buffers."
  type        = number
  default     = 1800

  validation {
    condition     = var.alarm_age_seconds >= 600
    error_message = "The alarm_age_seconds must be 600 or more, because Firehose buffers for 300."
  }
}

variable "force_destroy" {
  description = "Whether destroying the module deletes the archived events with the bucket. Otherwise destroying fails while events exist."
  type        = bool
  default     = false
}

variable "require_tls" {
  description = "Whether to refuse calls that are not encrypted in transit."
  type        = bool
  default     = true
}
