variable "name" {
  description = "Name of the state machine, its role and its log group."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,63}$", var.name))
    error_message = "The name must be 1 to 64 lower case letters, digits and dashes and begin with a letter, because the role has the same name."
  }
}

variable "type" {
  description = "STANDARD for machines that wait, EXPRESS for machines that end within five minutes."
  type        = string

  validation {
    condition     = contains(["STANDARD", "EXPRESS"], var.type)
    error_message = "The type must be STANDARD or EXPRESS."
  }
}

variable "definition_file" {
  description = "File of the machine in Amazon States Language. It has the placeholders partition and <function>_arn for each of functions."
  type        = string

  validation {
    condition     = can(regex("\\.asl\\.json$", var.definition_file))
    error_message = "The definition_file must be a file whose name ends in .asl.json."
  }
}

variable "functions" {
  description = "ARNs of the functions that the machine invokes, by name."
  type        = map(string)

  validation {
    condition     = length(var.functions) > 0
    error_message = "The functions must contain at least one function."
  }
}

variable "former_functions" {
  description = "ARNs of further functions that only earlier definitions invoke, by name. Running executions keep the definition with which they started."
  type        = map(string)
  default     = {}
}

variable "log_retention_days" {
  description = "Number of days to keep the machine's log."
  type        = number

  validation {
    condition     = var.log_retention_days > 0
    error_message = "The log_retention_days must be above 0, because 0 would keep logs forever."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the machine's log."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "The kms_key_arn must be the ARN of a KMS key."
  }
}
