# Routes of alerts beside the stage, for the tests in test_alert_routes.py.

variable "endpoint" {
  description = "Where the emulator listens."
  type        = string
}

variable "stage" {
  description = "The stage's name, for the provider's tags."
  type        = string
  default     = "local"
}

variable "region" {
  description = "Region of the stage."
  type        = string
}

variable "prefix" {
  description = "The prefix of every name."
  type        = string
}

variable "events_topic_arn" {
  description = "The stage's topic of events."
  type        = string
}

variable "alarms_topic_arn" {
  description = "The stage's topic of alarms."
  type        = string
}

variable "function_defaults" {
  description = "The stage's output of that name."
  type        = any
}

variable "routes" {
  description = "The routes, by name."
  type = map(object({
    kind                   = string
    parameter_name         = string
    signing_parameter_name = optional(string)
    alarms                 = optional(bool, false)
    events                 = optional(list(string), ["execution.failed", "execution.timed_out"])
    services               = optional(list(string), [])
    window_seconds         = number
    quiet_seconds          = number
  }))
}

locals {
  region     = var.region
  access_key = "test"
  secret_key = "test"
  version    = "test"
}

module "route" {
  source   = "../../../terraform/modules/alert_route"
  for_each = var.routes

  name                    = each.key
  topic_arn               = var.events_topic_arn
  alarms_topic_arn        = var.alarms_topic_arn
  function_defaults       = merge(var.function_defaults, { prefix = var.prefix })
  kind                    = each.value.kind
  parameter_name          = each.value.parameter_name
  signing_parameter_name  = each.value.signing_parameter_name
  alarms                  = each.value.alarms
  events                  = each.value.events
  services                = each.value.services
  window_seconds          = each.value.window_seconds
  quiet_seconds           = each.value.quiet_seconds
  console_url             = "http://127.0.0.1:8765/jobs/{service_name}/{job_name}/executions/{execution_id}"
  batching_window_seconds = 1
  allow_local_destination = true
  require_tls             = false
}

output "routes" {
  value = module.route
}
