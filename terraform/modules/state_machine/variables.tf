variable "name" {
  description = "Name of the state machine, and of its role and logs."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,63}$", var.name))
    error_message = "The name must be 1 to 64 lower case letters, digits and dashes, beginning with a letter, because the role bears it too."
  }
}

variable "type" {
  description = "STANDARD for machines that wait, EXPRESS for machines that are run synchronously."
  type        = string

  validation {
    condition     = contains(["STANDARD", "EXPRESS"], var.type)
    error_message = "The type must be STANDARD or EXPRESS."
  }
}

variable "definition_file" {
  description = "The machine in Amazon States Language, with the placeholders partition and <function>_arn for each of functions."
  type        = string

  validation {
    condition     = can(regex("\\.asl\\.json$", var.definition_file))
    error_message = "The definition_file must be a file whose name ends in .asl.json."
  }
}

variable "functions" {
  description = "The functions that the machine invokes, and may invoke: ARN by name."
  type        = map(string)

  validation {
    condition     = length(var.functions) > 0
    error_message = "The functions must name at least one function."
  }
}

variable "log_retention_days" {
  description = "How many days the machine's log is kept."
  type        = number

  validation {
    condition     = var.log_retention_days > 0
    error_message = "The log_retention_days must be above 0: logs are not kept for ever."
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
