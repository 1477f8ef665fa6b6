# Gives each job as code the types of the API's fields. A string that holds a number becomes one, and a field that a job
# leaves out becomes null. The module checked_jobs has already refused unknown fields, which Terraform drops here.

variable "jobs" {
  description = "Jobs as code, by service_name/job_name. Each job has the fields of the API's PUT."
  type = map(object({
    schedule = optional(string)
    after = optional(list(object({
      job = string
      on  = optional(set(string))
    })))
    time_zone                  = optional(string)
    start_at                   = optional(string)
    end_at                     = optional(string)
    invocation_type            = string
    invocation_target          = optional(string)
    payload                    = optional(string)
    async                      = optional(bool)
    enabled                    = optional(bool)
    exclusive                  = optional(bool)
    overlap                    = optional(string)
    ttl_seconds                = optional(number)
    heartbeat_interval_seconds = optional(number)
    alert_after_failures       = optional(number)
    pause_after_failures       = optional(number)
    warn_after_seconds         = optional(number)
    max_duration_seconds       = optional(number)
    description                = optional(string)
    owner                      = optional(string)
    tags                       = optional(map(string))
    catch_up                   = optional(string)
    catch_up_window_seconds    = optional(number)
    spread_seconds             = optional(number)
    limit                      = optional(string)
    workflow_type              = optional(string)
    starting_deadline_seconds  = optional(number)
    retry = optional(object({
      max_attempts     = number
      interval_seconds = optional(number)
      backoff_rate     = optional(number)
      on               = optional(set(string))
    }))
    test_invocation = optional(bool)
  }))
}
