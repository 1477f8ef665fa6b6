variable "stage" {
  description = "Second part of every resource's name. Each additional stage needs its own state."
  type        = string
  default     = "local"

  validation {
    condition     = length(var.stage) > 0
    error_message = "The stage must not be empty."
  }
}

variable "endpoint" {
  description = "URL of the emulator."
  type        = string
  default     = "http://localhost:4566"

  validation {
    condition     = can(regex("^https?://[^/%]+/?$", var.endpoint))
    error_message = "The endpoint must be an origin such as http://localhost:4566."
  }
}

variable "packages_dir" {
  description = "Directory with one <function>.zip for each function. If null, it is build/local."
  type        = string
  default     = null

  validation {
    condition     = var.packages_dir == null || var.packages_dir != ""
    error_message = "The packages_dir must name a directory, or be null."
  }
}

variable "log_level" {
  description = "Lowest level that functions log."
  type        = string
  default     = "INFO"

  validation {
    condition     = length(var.log_level) > 0
    error_message = "The log_level must not be empty."
  }
}

variable "jobs" {
  description = "Jobs as code; see the stage's variable jobs."
  type        = any
  default     = {}
}
