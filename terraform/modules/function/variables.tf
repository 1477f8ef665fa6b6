variable "name" {
  description = "The function's directory under functions/, such as put_job. The Lambda function is then <prefix>-put-job."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+(_[a-z]+)*$", var.name))
    error_message = "The name must be the function's directory: lower case words joined by underscores."
  }
}

variable "defaults" {
  description = "Settings that every function of a stage shares."
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
}

variable "description" {
  description = "What the function does, in one sentence."
  type        = string

  validation {
    condition     = length(var.description) > 0 && length(var.description) <= 256
    error_message = "The description must be 1 to 256 characters."
  }
}

variable "environment" {
  description = "Environment variables, in addition to those that every function gets."
  type        = map(string)
  default     = {}

  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
  validation {
    condition     = alltrue([for name in keys(var.environment) : can(regex("^[A-Za-z][A-Za-z0-9_]+$", name))])
    error_message = "Each name in environment must be two or more letters, digits and underscores, and begin with a letter."
  }
}

variable "policy" {
  description = "IAM policy document (JSON) of what the function may do, in addition to logging and tracing. Null for nothing more."
  type        = string
  default     = null

  validation {
    condition     = var.policy == null || can(jsondecode(var.policy))
    error_message = "The policy must be a JSON document, such as the json of an aws_iam_policy_document."
  }
}

variable "timeout" {
  description = "Seconds after which Lambda ends an invocation."
  type        = number
  default     = 15

  validation {
    condition     = var.timeout >= 1 && var.timeout <= 900
    error_message = "The timeout must be from 1 to 900 seconds."
  }
}

variable "memory_size" {
  description = "Memory in MB. Null for the stage's default."
  type        = number
  default     = null

  validation {
    condition     = var.memory_size == null || try(var.memory_size >= 128 && var.memory_size <= 10240, false)
    error_message = "The memory_size must be from 128 to 10240 MB."
  }
}

variable "concurrency" {
  description = "Number of concurrent invocations that are reserved for this function, which is also its maximum. Null for no reservation."
  type        = number
  default     = null

  validation {
    condition     = var.concurrency == null || try(var.concurrency >= 1 && floor(var.concurrency) == var.concurrency, false)
    error_message = "The concurrency must be a whole number of 1 or more, or null."
  }
}

variable "network" {
  description = "Subnets and security groups of the VPC in which the function runs. Null for Lambda's own network."
  type = object({
    subnet_ids         = list(string)
    security_group_ids = list(string)
  })
  default = null

  validation {
    condition     = var.network == null || try(length(var.network.subnet_ids) > 0 && length(var.network.security_group_ids) > 0, false)
    error_message = "The network must have at least one subnet and one security group."
  }
}
