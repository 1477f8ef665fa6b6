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
  description = "Events to keep: by attribute the values that pass, as in the module subscription. Without a filter, all events are kept."
  type        = map(list(string))
  default     = {}
}

variable "target" {
  description = "Target of replayed events. arn is that of a queue, topic or function. raw_message_delivery says whether a queue gets events without SNS's JSON envelope, as in its own subscription. kms_key_arn is the target's key, if it is not the stage's. If target is null, events are only kept."
  type = object({
    arn                  = string
    raw_message_delivery = optional(bool, true)
    kms_key_arn          = optional(string)
  })
  default = null

  validation {
    condition     = var.target == null || can(regex("^arn:[a-z-]+:(sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+|sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+|lambda:[a-z0-9-]+:[0-9]{12}:function:[A-Za-z0-9_-]+)$", var.target.arn))
    error_message = "The target must be the ARN of a standard queue, a standard topic, or a function."
  }

  validation {
    condition     = var.target == null || try(var.target.arn != var.topic_arn, true)
    error_message = "The target must not be the topic of the events itself, because all its subscribers, such as the archive, would receive the events twice."
  }
}

variable "replay" {
  description = "Time range of the events to replay to the target, in UTC: published at or after since, and before until. Null for none, which ends a replay."
  type = object({
    since = string
    until = string
  })
  default = null

  validation {
    condition = var.replay == null || alltrue([
      for moment in try([var.replay.since, var.replay.until], []) :
      can(regex("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$", moment)) && can(timecmp(moment, moment))
    ])
    error_message = "The since and until of replay must be times in UTC, such as 2026-11-23T02:00:00Z."
  }

  validation {
    condition     = var.replay == null || try(timecmp(var.replay.since, var.replay.until) < 0, true)
    error_message = "The since of replay must be before its until."
  }

  validation {
    condition     = var.replay == null || var.target != null
    error_message = "The replay must have a target."
  }
}

variable "concurrency" {
  description = "Number of batches to replay at once. It reserves this much of the account's Lambda concurrency, so that a long queue does not use all of it. AWS refuses a reservation that leaves less than 100. If null, replays share the account's concurrency."
  type        = number
  default     = 5

  validation {
    condition     = var.concurrency == null || try(var.concurrency >= 1 && floor(var.concurrency) == var.concurrency, false)
    error_message = "The concurrency must be a whole number of 1 or more, or null."
  }
}

variable "require_tls" {
  description = "Whether to refuse calls that are not encrypted in transit."
  type        = bool
  default     = true
}
