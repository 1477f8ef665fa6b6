variable "jobs" {
  description = "Jobs as code, by service_name/job_name. Each job has the fields of the API's PUT."
  type        = any # Terraform drops unknown fields from an object type without a word. The module typed_jobs applies the types.

  # Terraform checks here what it can, in the API's words. The API checks the rest on apply. The callers of this module
  # have checked that it is a map.
  validation {
    condition     = alltrue([for key in keys(var.jobs) : can(regex("^[A-Za-z0-9_.-]{1,64}/[A-Za-z0-9_.-]{1,64}$", key))])
    error_message = <<-EOT
      Each key must be service_name/job_name:
      ${join("\n", [for key in keys(var.jobs) : "${key}: expected 1 to 64 characters of A-Z a-z 0-9 _ . - on either side of one slash" if !can(regex("^[A-Za-z0-9_.-]{1,64}/[A-Za-z0-9_.-]{1,64}$", key))])}
    EOT
  }

  validation {
    condition     = alltrue([for key in keys(var.jobs) : !can(regex("^[.]{1,2}/|/[.]{1,2}$", key))])
    error_message = <<-EOT
      Each service_name and job_name must be one that a path can hold:
      ${join("\n", [for key in keys(var.jobs) : "${key}: expected neither . nor .. alone on either side of the slash" if can(regex("^[.]{1,2}/|/[.]{1,2}$", key))])}
    EOT
  }

  validation {
    condition     = alltrue([for key in keys(var.jobs) : !can(regex("--.*/|-/", key))])
    error_message = <<-EOT
      Each service_name must keep its jobs apart from those of other services:
      ${join("\n", [for key in keys(var.jobs) : "${key}: /service_name: expected no -- in it and no - at its end" if can(regex("--.*/|-/", key))])}
    EOT
  }

  validation {
    condition     = alltrue([for job in values(var.jobs) : can(keys(job)) && length(setsubtract(local.required_job_fields, try(keys(job), []))) == 0])
    error_message = <<-EOT
      Each job must be an object with the fields that the API requires:
      ${join("\n", flatten([for key, job in var.jobs : can(keys(job)) ? [for name in local.required_job_fields : "${key}: /${name}: this field is required" if !contains(keys(job), name)] : ["${key}: expected an object"]]))}
    EOT
  }

  validation {
    condition     = alltrue([for job in values(var.jobs) : length([for name in local.start_fields : name if try(job[name], null) != null]) == 1 if can(keys(job))])
    error_message = <<-EOT
      Each job must have either a schedule or after, a list of the jobs after which it runs:
      ${join("\n", [for key, job in var.jobs : "${key}: /schedule: this field is required, unless the job has after" if can(keys(job)) && try(job.schedule, null) == null && try(job.after, null) == null])}
      ${join("\n", [for key, job in var.jobs : "${key}: /after: expected either schedule or after, not both" if try(job.schedule, null) != null && try(job.after, null) != null])}
    EOT
  }

  validation {
    condition     = alltrue([for job in values(var.jobs) : length(setsubtract(try(keys(job), []), local.job_fields)) == 0])
    error_message = <<-EOT
      Each job must have only fields that the API knows:
      ${join("\n", flatten([for key, job in var.jobs : [for name in setsubtract(try(keys(job), []), local.job_fields) : "${key}: /${name}: unknown field: expected one of ${join(", ", local.job_fields)}"]]))}
    EOT
  }

  validation {
    condition     = alltrue([for job in values(var.jobs) : length(setsubtract(try(keys(job.retry), []), local.retry_fields)) == 0])
    error_message = <<-EOT
      Each retry must have only fields that the API knows:
      ${join("\n", flatten([for key, job in var.jobs : [for name in setsubtract(try(keys(job.retry), []), local.retry_fields) : "${key}: /retry/${name}: unknown field: expected one of ${join(", ", local.retry_fields)}"]]))}
    EOT
  }

  validation {
    condition     = alltrue([for job in values(var.jobs) : contains(["http", "sns"], coalesce(try(job.invocation_type, null), "-"))])
    error_message = <<-EOT
      Each job must say how its service is notified:
      ${join("\n", [for key, job in var.jobs : "${key}: /invocation_type: expected one of \"http\", \"sns\"" if !contains(["http", "sns"], coalesce(try(job.invocation_type, null), "-"))])}
    EOT
  }

  validation {
    condition     = alltrue([for job in values(var.jobs) : try(job.invocation_type, null) != "http" || try(job.invocation_target, null) != null])
    error_message = <<-EOT
      Each job over http must have a target:
      ${join("\n", [for key, job in var.jobs : "${key}: /invocation_target: this field is required if invocation_type is http" if try(job.invocation_type, null) == "http" && try(job.invocation_target, null) == null])}
    EOT
  }

  validation {
    condition     = alltrue([for job in values(var.jobs) : coalesce(try(tonumber(job.ttl_seconds), null), 300) >= 10])
    error_message = <<-EOT
      Each job must leave its service time to answer:
      ${join("\n", [for key, job in var.jobs : "${key}: /ttl_seconds: expected at least 10" if coalesce(try(tonumber(job.ttl_seconds), null), 300) < 10])}
    EOT
  }

  validation {
    condition     = alltrue([for job in values(var.jobs) : coalesce(try(tonumber(job.ttl_seconds), null), 300) <= 43200])
    error_message = <<-EOT
      Each job must limit the silence of its service:
      ${join("\n", [for key, job in var.jobs : "${key}: /ttl_seconds: expected at most 43200" if coalesce(try(tonumber(job.ttl_seconds), null), 300) > 43200])}
    EOT
  }

  validation {
    condition     = alltrue([for job in values(var.jobs) : alltrue([for name in local.bound_fields : try(job[name], null) == null || can(timeadd(job[name], "0s"))])])
    error_message = <<-EOT
      Each start_at and end_at must be a time with an offset:
      ${join("\n", flatten([for key, job in var.jobs : [for name in local.bound_fields : "${key}: /${name}: expected a time with an offset, such as 2026-12-24T18:00:00Z or 2026-12-24T19:00:00+01:00" if try(job[name], null) != null && !can(timeadd(job[name], "0s"))]]))}
    EOT
  }
}
