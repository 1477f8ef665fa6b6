variable "name" {
  description = "Name of the route, such as on-call. The resources of the module are named after it, and each route of a stage has a name of its own."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.name))
    error_message = "The name must be 2 to 20 lower case letters, digits and dashes, begin with a letter and not end with a dash."
  }
}

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

variable "alarms" {
  description = "Whether the route tells of the alarms of alarms_topic_arn."
  type        = bool
  default     = false

  validation {
    condition     = var.alarms || length(var.events) > 0
    error_message = "The route must tell of something: set alarms, or name events."
  }
}

variable "events" {
  description = "Events that are problems. With job.failing alone, the route is told of jobs with alert_after_failures only, and costs nothing for the successes of jobs. An empty list for none."
  type        = list(string)
  default     = ["execution.failed", "execution.timed_out"]
  nullable    = false

  validation {
    condition     = alltrue([for event in var.events : can(regex("^(execution|job)\\.[a-z_]+$", event))])
    error_message = "Each of events must be the name of an event of an execution or a job, such as execution.failed."
  }

  validation {
    condition     = length(setintersection(var.events, ["execution.started", "execution.succeeded", "job.recovered", "job.created", "job.updated", "job.resumed", "job.deleted", "job.completed"])) == 0
    error_message = "The events must not name an event that is no problem, such as execution.succeeded."
  }

  validation {
    condition     = length(distinct(var.events)) == length(var.events)
    error_message = "The events must not name an event twice."
  }
}

variable "services" {
  description = "Services whose events the route tells of. A * at the end of a value stands for any characters. An empty list for all services."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for service in var.services : can(regex("^[A-Za-z0-9_.-]{0,64}[*]?$", service)) && service != ""])
    error_message = "Each of services must be the name of a service, or the beginning of one with a * at its end."
  }
}

variable "kind" {
  description = "Kind of the destination: slack (an incoming webhook), teams (a webhook of Workflows), pagerduty (Events API v2) or webhook (any other URL)."
  type        = string

  validation {
    condition     = contains(["slack", "teams", "pagerduty", "webhook"], var.kind)
    error_message = "The kind must be slack, teams, pagerduty or webhook."
  }
}

variable "parameter_name" {
  description = "Name of the SSM parameter, a SecureString, that holds the URL of the destination, or for pagerduty the routing key. You create it outside of Terraform, so that it is in no state."
  type        = string

  validation {
    condition     = can(regex("^(/[A-Za-z0-9_.-]+)+$", var.parameter_name))
    error_message = "The parameter_name must be the name of a parameter that begins with a slash, such as /sjm/prod/alerts/on-call. It is not the URL itself."
  }
}

variable "signing_parameter_name" {
  description = "Name of the SSM parameter, a SecureString, that holds the secret with which messages to a webhook are signed: whsec_ and 24 to 64 bytes in base64. Only for the kind webhook, which requires it."
  type        = string
  default     = null

  validation {
    condition     = var.signing_parameter_name == null || can(regex("^(/[A-Za-z0-9_.-]+)+$", var.signing_parameter_name))
    error_message = "The signing_parameter_name must be the name of a parameter that begins with a slash, or null."
  }

  validation {
    condition     = (var.kind == "webhook") == (var.signing_parameter_name != null)
    error_message = "The signing_parameter_name is required for the kind webhook, and only for it."
  }
}

variable "parameter_key_arn" {
  description = "Key that encrypts the parameters, if it is one of your own. If null, it is AWS's key for parameters."
  type        = string
  default     = null

  validation {
    condition     = var.parameter_key_arn == null || can(regex("^arn:[a-z-]+:kms:", var.parameter_key_arn))
    error_message = "The parameter_key_arn must be the ARN of a KMS key, or null."
  }
}

variable "group_by" {
  description = "Problems that share messages: those of a service, of the whole route, or of a job. Alarms are a group of their own, unless it is route."
  type        = string
  default     = "service"

  validation {
    condition     = contains(["route", "service", "job"], var.group_by)
    error_message = "The group_by must be route, service or job."
  }
}

variable "window_seconds" {
  description = "Number of seconds after a message in which further problems of its group are collected, for one update. It doubles with each message of the group, up to longest_window_seconds."
  type        = number
  default     = 900

  validation {
    condition     = var.window_seconds >= 1 && var.window_seconds <= 86400 && floor(var.window_seconds) == var.window_seconds
    error_message = "The window_seconds must be a whole number of seconds from 1 to 86400."
  }
}

variable "longest_window_seconds" {
  description = "Number of seconds up to which the window grows. It does not grow if this is less than window_seconds."
  type        = number
  default     = 3600

  validation {
    condition     = var.longest_window_seconds >= 1 && var.longest_window_seconds <= 86400 && floor(var.longest_window_seconds) == var.longest_window_seconds
    error_message = "The longest_window_seconds must be a whole number of seconds from 1 to 86400."
  }
}

variable "quiet_seconds" {
  description = "Number of seconds without a problem after which a group is over. A job that fails again within them causes no new message."
  type        = number
  default     = 300

  validation {
    condition     = var.quiet_seconds >= 1 && var.quiet_seconds <= 86400 && floor(var.quiet_seconds) == var.quiet_seconds
    error_message = "The quiet_seconds must be a whole number of seconds from 1 to 86400."
  }
}

variable "batching_window_seconds" {
  description = "Number of seconds to collect events before the function is invoked. A longer window means fewer invocations and later messages."
  type        = number
  default     = 5

  validation {
    condition     = var.batching_window_seconds >= 1 && var.batching_window_seconds <= 300 && floor(var.batching_window_seconds) == var.batching_window_seconds
    error_message = "The batching_window_seconds must be a whole number from 1 to 300, because without a window Lambda accepts no batch of more than 10."
  }
}

variable "console_url" {
  description = "Address of a page of the console to link to, with {service_name}, {job_name} and {execution_id} in it, such as http://127.0.0.1:8765/jobs/{service_name}/{job_name}/executions/{execution_id}. If null, messages have no link."
  type        = string
  default     = null

  validation {
    condition     = var.console_url == null || can(regex("^https?://[^ <>|\"]{1,200}$", var.console_url))
    error_message = "The console_url must be an http or https URL of at most 200 characters, without blanks, quotes, pipes and angle brackets, or null."
  }

  validation {
    condition     = var.console_url == null || alltrue([for name in try(flatten(regexall("{([^}]*)}", var.console_url)), []) : contains(["service_name", "job_name", "execution_id"], name)])
    error_message = "The console_url must have no other names in braces than service_name, job_name and execution_id."
  }
}

variable "pagerduty_severity" {
  description = "Severity of PagerDuty's alerts."
  type        = string
  default     = "error"

  validation {
    condition     = contains(["critical", "error", "warning", "info"], var.pagerduty_severity)
    error_message = "The pagerduty_severity must be critical, error, warning or info."
  }
}

variable "pagerduty_url" {
  description = "URL of PagerDuty's Events API v2. Accounts in the EU use https://events.eu.pagerduty.com/v2/enqueue."
  type        = string
  default     = "https://events.pagerduty.com/v2/enqueue"

  validation {
    condition     = can(regex("^https://[^/ ]+/[^ ]*$", var.pagerduty_url)) || var.allow_local_destination
    error_message = "The pagerduty_url must be an https URL."
  }
}

variable "alarm_age_seconds" {
  description = "Age in seconds at which an alert that could not be delivered raises an alarm."
  type        = number
  default     = 900

  validation {
    condition     = var.alarm_age_seconds >= 60 && var.alarm_age_seconds <= 14400 && floor(var.alarm_age_seconds) == var.alarm_age_seconds
    error_message = "The alarm_age_seconds must be a whole number of seconds from 60 to 14400, after which alerts are given up."
  }
}

variable "allow_local_destination" {
  description = "Whether the destination may be a loopback address, and its URL http. For tests only."
  type        = bool
  default     = false
}

variable "require_tls" {
  description = "Whether to refuse calls that are not encrypted in transit."
  type        = bool
  default     = true
}
