variable "name" {
  description = "Name of the queue."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,80}$", var.name))
    error_message = "The name must be 1 to 80 letters, digits, dashes and underscores."
  }
}

variable "rule_arns" {
  description = "ARNs of the EventBridge rules that may send to the queue. A * stands for any characters."
  type        = list(string)

  validation {
    condition     = alltrue([for arn in var.rule_arns : can(regex("^arn:[a-z-]+:events:[a-z0-9-]+:[0-9]{12}:rule/.+$", arn))])
    error_message = "Each of rule_arns must be the ARN of an EventBridge rule, or of several with a * in the rule's name."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the messages."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "The kms_key_arn must be the ARN of a KMS key."
  }
}

variable "require_tls" {
  description = "Whether to refuse calls that are not encrypted in transit."
  type        = bool
}
