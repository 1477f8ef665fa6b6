variable "name" {
  description = "First part of every resource's name. It has letters and digits only, because a dash would let the name pattern of one stage match the resources of another."
  type        = string
  default     = "sjm"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,11}$", var.name))
    error_message = "The name must be 2 to 12 lower case letters and digits and begin with a letter, so that every derived name fits AWS's limits."
  }

  # https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html
  validation {
    condition     = !can(regex("^(aws|ssm)", var.name))
    error_message = "The name must not begin with aws or ssm, because SSM reserves such names, and a parameter publishes the API's URL under this name."
  }
}

variable "stage" {
  description = "Second part of every resource's name, such as dev or prod. It must be unique in the account, because IAM roles are not regional."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,15}$", var.stage))
    error_message = "The stage must be 2 to 16 lower case letters and digits and begin with a letter, so that every derived name fits AWS's limits."
  }
}

variable "packages_dir" {
  description = "Directory with one <function>.zip for each function. `make package` builds it."
  type        = string

  validation {
    condition     = length(var.packages_dir) > 0
    error_message = "The packages_dir must name the directory that `make package` filled."
  }
}

variable "packages_bucket" {
  description = "S3 bucket that holds each zip of packages_dir as <function>.zip. If null, the provider uploads the zips itself, one after the other and 5 s apart."
  type        = string
  default     = null

  validation {
    condition     = var.packages_bucket == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.packages_bucket))
    error_message = "The packages_bucket must be the name of an S3 bucket."
  }
}

variable "runtime" {
  description = "Lambda runtime of every function."
  type        = string
  default     = "python3.13"

  validation {
    condition     = can(regex("^python3\\.[0-9]+$", var.runtime))
    error_message = "The runtime must be one of Lambda's Python runtimes, such as python3.13."
  }
}

variable "memory_size" {
  description = "Memory in MB of every function that does not need more. Lambda allocates CPU in proportion."
  type        = number
  default     = 256

  validation {
    condition     = var.memory_size >= 128 && var.memory_size <= 10240 && floor(var.memory_size) == var.memory_size
    error_message = "The memory_size must be a whole number from 128 to 10240 MB."
  }
}

variable "log_level" {
  description = "Lowest level that functions log."
  type        = string
  default     = "INFO"

  validation {
    condition     = contains(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], var.log_level)
    error_message = "The log_level must be DEBUG, INFO, WARNING, ERROR or CRITICAL."
  }
}

variable "log_retention_days" {
  description = "Number of days to keep the logs of functions, state machines and the API."
  type        = number
  default     = 30

  validation {
    condition = contains(
      [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827, 3653],
      var.log_retention_days,
    )
    error_message = "The log_retention_days must be a value that CloudWatch Logs accepts: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827 or 3653."
  }
}

variable "metrics_by_stage" {
  description = "Whether functions write outcomes, latencies, durations and heartbeats of executions as metrics of the stage. They are up to ten metrics at $0.30 a month, for the hours in which they have values. Set false if you read outcomes only from the events topic or the API. Alarms do not need these metrics."
  type        = bool
  default     = true
}

variable "metrics_by_service" {
  description = "Whether functions also write these metrics for each service. Each service then costs up to ten metrics at $0.30 a month."
  type        = bool
  default     = false
}

variable "metrics_by_job" {
  description = "Whether functions also write these metrics for each job. Each job then costs up to ten metrics at $0.30 a month, so use it only for stages with few jobs."
  type        = bool
  default     = false
}

variable "metrics_by_function" {
  description = "Whether each function also writes its cold starts and its memory as metrics. Each function then costs two metrics at $0.30 a month, for the hours in which it starts. Without them, the dashboard reads both from the logs."
  type        = bool
  default     = false
}

variable "dashboard" {
  description = "Whether the stage has a dashboard in CloudWatch, which costs $3 a month beyond the three that AWS does not charge for."
  type        = bool
  default     = true
}

variable "saved_queries" {
  description = "Whether to save queries for operators in CloudWatch Logs Insights. Set false only for an emulator that cannot store them."
  type        = bool
  default     = true
}

variable "alarm_thresholds" {
  description = "Value within 5 minutes from which each alarm is raised. dead_letters counts messages in a queue, and api_errors counts answers with 5xx. tick_age_ms is in milliseconds, and memory_pct in percent of a function's memory. The others count occurrences. late_executions counts executions that run longer than their jobs' warn_after_seconds. Without it there is no such alarm, because that is a matter of the job's service and not of the manager: the module alert_route tells the service of each with the event execution.late. Set it if whoever runs the stage should know of many at once."
  type = object({
    dead_letters         = optional(number, 1)
    tick_age_ms          = optional(number, 60000)
    throttled_ticks      = optional(number, 5)
    throttled_executions = optional(number, 1)
    timed_out_executions = optional(number, 1)
    api_errors           = optional(number, 5)
    manager_failures     = optional(number, 1)
    reaped               = optional(number, 1)
    late_executions      = optional(number)
    reconciled           = optional(number, 1)
    missed_ticks         = optional(number, 1)
    memory_pct           = optional(number, 90)
  })
  default = {}

  validation {
    condition     = alltrue([for threshold in values(var.alarm_thresholds) : coalesce(threshold, 1) >= 1])
    error_message = "Each of alarm_thresholds must be 1 or more."
  }

  validation {
    condition     = var.alarm_thresholds.memory_pct <= 100
    error_message = "The memory_pct of alarm_thresholds must be a percentage from 1 to 100."
  }
}

variable "execution_retention_days" {
  description = "Number of days to keep the record of an execution after its end."
  type        = number
  default     = 90

  validation {
    condition = (
      var.execution_retention_days >= 1 && var.execution_retention_days <= 3650
      && floor(var.execution_retention_days) == var.execution_retention_days
    )
    error_message = "The execution_retention_days must be a whole number of days from 1 to 3650."
  }
}

variable "schedule_limit" {
  description = "Maximum number of unique schedules of all jobs in the stage that have an EventBridge rule. The default quota is 300 rules for an account and region, shared by all stages. Schedules of EventBridge Scheduler do not count: see trigger_type."
  type        = number
  default     = 300

  validation {
    condition     = var.schedule_limit >= 1 && var.schedule_limit <= 2000 && floor(var.schedule_limit) == var.schedule_limit
    error_message = "The schedule_limit must be a whole number of schedules from 1 to 2000."
  }
}

variable "trigger_type" {
  description = "What fires for the schedules in UTC that are a cron or a rate without start_at and end_at: rule or scheduler. For rule, each is an EventBridge rule, which costs nothing, and schedule_limit limits them. For scheduler, each is a schedule of EventBridge Scheduler, of which an account may have a million, and a tick costs $1 a million. All other schedules have EventBridge Scheduler anyway. If you change the type, the next run of reconcile_schedules moves the schedules in use."
  type        = string
  default     = "rule"

  validation {
    condition     = contains(["rule", "scheduler"], var.trigger_type)
    error_message = "The trigger_type must be rule or scheduler."
  }
}

variable "default_workflow_type" {
  description = "The workflow_type of a job whose PUT does not name one: standard or express. A Standard execution keeps exact deadlines and has a page in Step Functions' console. An Express one costs about a fifth. Its deadlines are noticed after reap_grace_seconds, when reap_schedule comes next: one to two minutes late by default. Jobs that are saved already keep theirs."
  type        = string
  default     = "standard"

  validation {
    condition     = contains(["standard", "express"], var.default_workflow_type)
    error_message = "The default_workflow_type must be standard or express."
  }
}

variable "spread" {
  description = "Whether jobs may have spread_seconds, and limits per_second. If so, a queue keeps the starts of spread jobs, and executions that wait under such limits, until their time. Lambda polls the queue all the time, which takes about 650,000 SQS requests a month: $0.26, or nothing within AWS's free million. If you turn it off, the starts that wait in the queue are lost, spread jobs start at once from the next tick on, and a PUT with spread_seconds or per_second is refused."
  type        = bool
  default     = true
}

variable "index_shards" {
  description = "Into how many partitions the indexes by_day, late and sweep of the executions table are split. A partition takes 1,000 writes a second, and a run writes two to each index. So 4 suffice for 2,000 runs a second, and an Express stage that starts 6,000 needs 12. Lists of all services read each shard. If you lower the number, name the old one in former_index_shards."
  type        = number
  default     = 4

  validation {
    condition     = var.index_shards >= 1 && var.index_shards <= 64 && floor(var.index_shards) == var.index_shards
    error_message = "The index_shards must be a whole number from 1 to 64."
  }
}

variable "former_index_shards" {
  description = "The largest index_shards that the stage had before. The sweep and lists read so many shards, so that they find what was written then. After execution_retention_days you can remove it."
  type        = number
  default     = 0

  validation {
    condition     = var.former_index_shards >= 0 && var.former_index_shards <= 64 && floor(var.former_index_shards) == var.former_index_shards
    error_message = "The former_index_shards must be a whole number from 0 to 64."
  }
}

variable "reap_schedule" {
  description = "EventBridge rate for how often the stage looks after its open executions. An execution that Step Functions' own timeouts do not end, and its lock, can last that much longer. So can the wait between two attempts of an Express execution. The lock of an Express job that is retried is held for that time too."
  type        = string
  default     = "rate(1 minute)"

  validation {
    condition     = can(regex(local.schedule_pattern, var.reap_schedule)) && startswith(var.reap_schedule, "rate(")
    error_message = "The reap_schedule must be an EventBridge rate, such as rate(1 minute) or rate(1 hour)."
  }
}

variable "reap_grace_seconds" {
  description = "Number of seconds that an execution must be overdue before the reaper ends it. It leaves time for callbacks on their way and for Step Functions' own timeouts and retries. Below 50, the reaper can end an execution with the shortest ttl_seconds during the longest wait (60 seconds) between two attempts to notify its service."
  type        = number
  default     = 60

  validation {
    condition     = var.reap_grace_seconds >= 1 && var.reap_grace_seconds <= 3600 && floor(var.reap_grace_seconds) == var.reap_grace_seconds
    error_message = "The reap_grace_seconds must be a whole number of seconds from 1 to 3600."
  }
}

variable "reconcile_schedule" {
  description = "EventBridge expression for how often the stage makes its rules match its jobs and looks for missed ticks."
  type        = string
  default     = "rate(15 minutes)"

  validation {
    condition     = can(regex(local.schedule_pattern, var.reconcile_schedule))
    error_message = "The reconcile_schedule must be an EventBridge expression: rate(15 minutes), rate(1 hour), or a cron(…) of six fields."
  }
}

variable "missed_tick_grace_seconds" {
  description = "Number of seconds that a tick may be late before it counts as missed."
  type        = number
  default     = 300

  validation {
    condition = (
      var.missed_tick_grace_seconds >= 60 && var.missed_tick_grace_seconds <= 86400
      && floor(var.missed_tick_grace_seconds) == var.missed_tick_grace_seconds
    )
    error_message = "The missed_tick_grace_seconds must be a whole number of seconds from 60 to 86400, because EventBridge may be a minute late."
  }
}

variable "point_in_time_recovery" {
  description = "Whether you can restore the tables to any second of the last 35 days."
  type        = bool
  default     = true
}

variable "api_throttling_rate_limit" {
  description = "Steady number of requests a second that each route of the API accepts before it answers 429. The default leaves room for 300 executions a second with two heartbeats and a result each, and fits the quotas of all regions. Lower it where fewer jobs run, because it also limits what a flood costs."
  type        = number
  default     = 1000

  validation {
    condition     = var.api_throttling_rate_limit >= 1 && var.api_throttling_rate_limit <= 10000
    error_message = "The api_throttling_rate_limit must be from 1 to 10000 requests a second."
  }
}

variable "api_throttling_burst_limit" {
  description = "Number of requests that each route of the API accepts at once, above the steady rate. Leave room for jobs that share a schedule, because they call back at the same time. The default is the quota of an account in AWS's smallest regions."
  type        = number
  default     = 1250

  validation {
    condition     = var.api_throttling_burst_limit >= 1 && var.api_throttling_burst_limit <= 5000
    error_message = "The api_throttling_burst_limit must be from 1 to 5000 requests."
  }
}

variable "api_url_format" {
  description = "URL of the API, with one %s for the API's id. On AWS, leave it null to use API Gateway's own URL."
  type        = string
  default     = null

  validation {
    condition     = var.api_url_format == null || can(regex("^https?://[^%]*%s([^%]*[^%/])?$", var.api_url_format))
    error_message = "The api_url_format must be an http(s) URL with one %s for the API's id and no trailing slash."
  }
}

variable "notification_topic_arns" {
  description = "SNS topics that jobs may target, in addition to the stage's own topic. If a topic has its own KMS key, the key must let the run_execution role use it. A topic of another account must let the run_execution role publish and the test_target role read its attributes."
  type        = list(string)
  default     = []

  validation {
    condition = alltrue([
      for arn in var.notification_topic_arns : can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$", arn))
    ])
    error_message = "Each of notification_topic_arns must be the full ARN of one SNS topic, without wildcards."
  }
}

variable "allow_private_targets" {
  description = "Whether webhooks may reach private and carrier-grade NAT addresses. Functions reach those only from inside a VPC (see subnet_ids). The manager never calls link-local, metadata, multicast or reserved addresses."
  type        = bool
  default     = false
}

variable "allow_loopback_targets" {
  description = "Whether webhooks may reach loopback addresses. Set true only for an emulator on the same machine as the services, because on Lambda they reach the runtime's own interface."
  type        = bool
  default     = false
}

variable "allow_http_targets" {
  description = "Whether webhooks may use http targets, without encryption."
  type        = bool
  default     = false
}

variable "subnet_ids" {
  description = "Subnets of a VPC for the functions that reach targets, preferably in two availability zones. They require security_group_ids. Leave the list empty to use Lambda's own network. docs/private-targets.md lists costs and requirements."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.subnet_ids : can(regex("^subnet-[0-9a-f]{8,17}$", id))]) && length(var.subnet_ids) <= 16
    error_message = "The subnet_ids must be at most 16 subnet ids, such as subnet-0123456789abcdef0."
  }

  validation {
    condition     = length(var.subnet_ids) == 0 || length(var.security_group_ids) > 0
    error_message = "With subnet_ids, set security_group_ids too: they decide what webhooks can reach inside the VPC."
  }

  validation {
    condition     = length(var.security_group_ids) == 0 || length(var.subnet_ids) > 0
    error_message = "With security_group_ids, set subnet_ids too: without a VPC the groups have no effect."
  }
}

variable "security_group_ids" {
  description = "Security groups for the functions that reach targets, in the VPC of subnet_ids. Their outbound rules decide what jobs can reach in that network."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.security_group_ids : can(regex("^sg-[0-9a-f]{8,17}$", id))]) && length(var.security_group_ids) <= 5
    error_message = "The security_group_ids must be at most 5 security group ids, such as sg-0123456789abcdef0."
  }
}

variable "callback_concurrency" {
  description = "Maximum number of callbacks that are handled at once. It reserves this much of the account's Lambda concurrency for callbacks, and a flood of callbacks cannot use more. If null, callbacks share the account's concurrency. 300 callbacks a second of 0.15 s take 45, and with two heartbeats for each 135, so set at least 200 for 300 executions a second."
  type        = number
  default     = null

  validation {
    condition     = var.callback_concurrency == null || try(var.callback_concurrency >= 1 && floor(var.callback_concurrency) == var.callback_concurrency, false)
    error_message = "The callback_concurrency must be a whole number of 1 or more, or null."
  }
}

variable "require_tls" {
  description = "Whether topics and queues refuse calls that are not encrypted in transit. Set false only for an emulator that uses plain http."
  type        = bool
  default     = true
}

variable "command_environment" {
  description = "Environment variables for the commands that Terraform runs. The commands put and delete the jobs of the variable jobs, and remove the stage's schedule rules and schedules on destroy. On AWS, leave it empty: the commands use the credentials of the shell that runs Terraform."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.command_environment) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name))])
    error_message = "Each name in command_environment must consist of letters, digits and underscores, and must not begin with a digit."
  }
}

variable "jobs" {
  description = "Jobs as code, by service_name/job_name. Each job has the fields of the API's PUT. The API refuses to change or delete these jobs."
  type        = any # the module checked_jobs checks and applies the types
  default     = {}

  validation {
    condition     = can(keys(var.jobs))
    error_message = "Each of jobs must be an object with a job's fields, by service_name/job_name."
  }
}

variable "jobs_managed_in" {
  description = "Where the variable jobs is defined, such as a repository. The API shows it with each of these jobs. If null, it is `Terraform, stage <prefix>`."
  type        = string
  default     = null

  validation {
    condition     = var.jobs_managed_in == null || try(length(var.jobs_managed_in) >= 1 && length(var.jobs_managed_in) <= 256, false)
    error_message = "The jobs_managed_in must be 1 to 256 characters, or null."
  }

  validation {
    condition     = var.jobs_managed_in == null || !startswith(coalesce(var.jobs_managed_in, "-"), "service ")
    error_message = "The jobs_managed_in must not begin with `service `: so begin the places in which services define their own jobs."
  }
}
