variable "stage" {
  description = "Second part of every resource's name. Another stage beside this one needs a state of its own."
  type        = string
  default     = "local"

  validation {
    condition     = length(var.stage) > 0
    error_message = "The stage must not be empty."
  }
}

variable "endpoint" {
  description = "Where the emulator listens."
  type        = string
  default     = "http://localhost:4566"

  validation {
    condition     = can(regex("^https?://[^/%]+/?$", var.endpoint))
    error_message = "The endpoint must be an origin such as http://localhost:4566."
  }
}

variable "packages_dir" {
  description = "Directory with one <function>.zip for each function; null for build/local."
  type        = string
  default     = null

  validation {
    condition     = var.packages_dir == null || var.packages_dir != ""
    error_message = "The packages_dir must name a directory, or be null."
  }
}

variable "log_level" {
  description = "The least severe level that functions log."
  type        = string
  default     = "INFO"

  validation {
    condition     = length(var.log_level) > 0
    error_message = "The log_level must not be empty."
  }
}

variable "jobs" {
  description = "Jobs as code, as the stage takes them."
  type        = any
  default     = {}
}
