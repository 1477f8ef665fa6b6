variable "stage" {
  description = "The stage that runs the jobs, such as prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,15}$", var.stage))
    error_message = "The stage must be 2 to 16 lower case letters and digits and begin with a letter, such as prod."
  }
}

variable "service" {
  description = "The name of the service that owns the jobs."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{1,64}$", var.service)) && !can(regex("^[.]{1,2}$|--|-$", var.service))
    error_message = "The service must be 1 to 64 characters of A-Z a-z 0-9 _ . - without -- in it or - at its end, and neither . nor .. alone."
  }
}

variable "jobs" {
  description = "The service's jobs, by job_name. Each job has the fields of the API's PUT. The API refuses to change or delete these jobs otherwise."
  type        = any # the module checked_jobs checks and applies the types

  validation {
    condition     = can(keys(var.jobs))
    error_message = "Each of jobs must be an object with a job's fields, by job_name."
  }
}

variable "name" {
  description = "The stage's `name` in the platform's Terraform."
  type        = string
  default     = "sjm"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,11}$", var.name))
    error_message = "The name must be 2 to 12 lower case letters and digits and begin with a letter."
  }
}

variable "region" {
  description = "The region of the stage. If null, it is that of the environment in which Terraform runs: AWS_REGION, or the profile's."
  type        = string
  default     = null

  validation {
    condition     = var.region == null || can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "The region must be the code of an AWS region, as in AWS_REGION, or null."
  }
}

variable "managed_in" {
  description = "Where these jobs are defined, such as a repository. The API shows it with each of the jobs, after the service's name."
  type        = string
  default     = "Terraform"
  nullable    = false

  validation {
    condition     = can(regex("^[[:print:]]{1,256}$", var.managed_in))
    error_message = "The managed_in must be 1 to 256 printable characters of ASCII."
  }
}

variable "command_environment" {
  description = "Environment variables for the commands that put and delete the jobs, such as AWS_PROFILE. Terraform's state keeps them, so they must not hold secrets. The commands also get the environment in which Terraform runs."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.command_environment) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name))])
    error_message = "Each name in command_environment must consist of letters, digits and underscores, and must not begin with a digit."
  }
}
