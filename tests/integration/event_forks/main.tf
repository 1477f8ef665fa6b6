# The modules that use the stage's topics, for the tests in test_event_forks.py.

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

variable "subscribers" {
  description = "The subscriptions to create, by name: the endpoint and the filter."
  type = map(object({
    queue        = optional(object({ arn = string, id = string }))
    function     = optional(object({ arn = string }))
    url          = optional(string)
    mail_address = optional(string)
    filter       = optional(map(list(string)), {})
  }))
  default = {}
}

variable "replay_target" {
  description = "Where replayed events go."
  type        = any
  default     = null
}

variable "replay" {
  description = "The time range to replay."
  type        = any
  default     = null
}

locals {
  region            = var.region
  access_key        = "test"
  secret_key        = "test"
  version           = "test"
  function_defaults = merge(var.function_defaults, { prefix = var.prefix })
}

module "event_archive" {
  source = "../../../terraform/modules/event_archive"

  topic_arn               = var.events_topic_arn
  function_defaults       = local.function_defaults
  alarms_topic_arn        = var.alarms_topic_arn
  batching_window_seconds = 1
  force_destroy           = true
  require_tls             = false
}

module "event_search" {
  source = "../../../terraform/modules/event_search"

  archive           = module.event_archive.archive
  function_defaults = local.function_defaults
  alarms_topic_arn  = var.alarms_topic_arn
  require_tls       = false
}

module "event_replay" {
  source = "../../../terraform/modules/event_replay"

  topic_arn         = var.events_topic_arn
  function_defaults = local.function_defaults
  alarms_topic_arn  = var.alarms_topic_arn
  filter            = { event = ["job.*"] }
  target            = var.replay_target
  replay            = var.replay
  require_tls       = false
}

module "subscription" {
  source   = "../../../terraform/modules/subscription"
  for_each = var.subscribers

  name           = "${var.prefix}-${each.key}"
  topic_arn      = var.events_topic_arn
  queue          = each.value.queue
  function       = each.value.function
  url            = each.value.url
  mail_address   = each.value.mail_address
  filter         = each.value.filter
  kms_key_arn    = local.function_defaults.kms_key_arn
  alarms_topic   = { arn = var.alarms_topic_arn }
  allow_http_url = true
  require_tls    = false
}

output "archive" {
  value = module.event_archive
}

output "search" {
  value = module.event_search
}

output "replay" {
  value = module.event_replay
}

output "subscriptions" {
  value = module.subscription
}
