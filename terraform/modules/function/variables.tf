variable "name" {
  description = "The function's directory under functions/, such as put_job; the Lambda function is <prefix>-put-job."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+(_[a-z]+)*$", var.name))
    error_message = "The name must be the function's directory: lower case words joined by underscores."
  }
}

variable "defaults" {
  description = "What is the same for every function of a stage."
  type = object({
    prefix             = string
    arn_prefix         = string
    stage              = string
    packages_dir       = string
    packages_bucket    = string
    runtime            = string
    memory_size        = number
    log_level          = string
    log_retention_days = number
    kms_key_arn        = string
    metrics_namespace  = string
    metrics_by_job     = bool
  })
}

variable "description" {
  description = "One sentence: what the function does."
  type        = string

  validation {
    condition     = length(var.description) > 0 && length(var.description) <= 256
    error_message = "The description must be 1 to 256 characters."
  }
}

variable "environment" {
  description = "Environment variables besides those that every function gets."
  type        = map(string)
  default     = {}

  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
  validation {
    condition     = alltrue([for name in keys(var.environment) : can(regex("^[A-Za-z][A-Za-z0-9_]+$", name))])
    error_message = "Each of environment must be named by two or more letters, digits and underscores, beginning with a letter."
  }
}

variable "policy" {
  description = "IAM policy document (JSON) with what the function may do besides logging and tracing; null for nothing."
  type        = string
  default     = null

  validation {
    condition     = var.policy == null || can(jsondecode(var.policy))
    error_message = "The policy must be a JSON document, such as an aws_iam_policy_document's json."
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
  description = "Memory in MB; null for the stage's default."
  type        = number
  default     = null

  validation {
    condition     = var.memory_size == null || try(var.memory_size >= 128 && var.memory_size <= 10240, false)
    error_message = "The memory_size must be from 128 to 10240 MB."
  }
}

variable "concurrency" {
  description = "How many invocations run at once at most, reserved for this function; null for what the account has left."
  type        = number
  default     = null

  validation {
    condition     = var.concurrency == null || try(var.concurrency >= 1 && floor(var.concurrency) == var.concurrency, false)
    error_message = "The concurrency must be a whole number from 1, or null."
  }
}

variable "network" {
  description = "The subnets and security groups of a VPC in which the function calls out; null for Lambda's own network."
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
