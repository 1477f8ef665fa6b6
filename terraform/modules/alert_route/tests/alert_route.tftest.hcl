# A plan refuses invalid inputs with an explanation.

mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  name             = "on-call"
  topic_arn        = "arn:aws:sns:eu-central-1:123456789012:sjm-dev-events"
  alarms_topic_arn = "arn:aws:sns:eu-central-1:123456789012:sjm-dev-alarms"
  kind             = "slack"
  parameter_name   = "/sjm/dev/alerts/on-call"
  function_defaults = {
    prefix              = "sjm-dev"
    arn_prefix          = "arn:aws:lambda:eu-central-1:123456789012:function"
    stage               = "dev"
    packages_dir        = "../../../.local/stand-in-packages"
    packages_bucket     = null
    runtime             = "python3.8"
    memory_size         = 256
    log_level           = "INFO"
    log_retention_days  = 14
    kms_key_arn         = "arn:aws:kms:eu-central-1:123456789012:key/mine"
    metrics_namespace   = "ServerlessJobManager"
    metrics_by_stage    = true
    metrics_by_service  = false
    metrics_by_job      = false
    metrics_by_function = false
    memory_alarm_pct    = 90
  }
}

run "failures_are_told_and_ended_by_successes" {
  command = plan

  variables {
    services = ["billing", "ledger-*"]
  }

  assert {
    condition     = length(module.events) == 1 && length(module.alarms) == 0
    error_message = "There must be a subscription to events, and none to alarms."
  }

  assert {
    condition     = local.ends == ["job.recovered", "job.deleted", "job.paused", "job.completed", "job.updated", "execution.succeeded"]
    error_message = "Successes must end failures."
  }

  assert {
    condition     = module.route_alerts.function_name == "sjm-dev-on-call-route-alerts"
    error_message = "Each route must have a function of its own."
  }
}

run "a_route_of_failing_jobs_needs_no_successes" {
  command = plan

  variables {
    events = ["job.failing"]
  }

  assert {
    condition     = !contains(local.ends, "execution.succeeded")
    error_message = "The successes of jobs must not be delivered."
  }
}

run "a_route_of_alarms_alone" {
  command = plan

  variables {
    events = []
    alarms = true
  }

  assert {
    condition     = length(module.events) == 0 && length(module.alarms) == 1
    error_message = "There must be a subscription to alarms, and none to events."
  }
}

run "the_longest_names_fit" {
  command = plan

  variables {
    name              = "abcdefghijklmnopqrst"
    function_defaults = merge(var.function_defaults, { prefix = "abcdefghijklmnopqrstuvwxyzabc" })
  }

  assert {
    condition     = length(module.route_alerts.function_name) <= 64
    error_message = "The name of the function must have at most 64 characters."
  }
}

run "a_webhook_with_a_signature_and_a_console" {
  command = plan

  variables {
    kind                   = "webhook"
    signing_parameter_name = "/sjm/dev/alerts/on-call-secret"
    parameter_key_arn      = "arn:aws:kms:eu-central-1:123456789012:key/ours"
    console_url            = "http://127.0.0.1:8765/jobs/{service_name}/{job_name}/executions/{execution_id}"
  }

  assert {
    condition     = length(local.parameter_arns) == 2 && endswith(local.parameter_arns[1], ":parameter/sjm/dev/alerts/on-call-secret")
    error_message = "The function must read both parameters."
  }
}

# One run refuses several variables at once. If a variable has several validations, each has its own run.

run "what_is_no_name_topic_parameter_event_key_number_or_url" {
  command = plan

  variables {
    name                    = "abcdefghijklmnopqrstu"
    topic_arn               = "sjm-dev-events"
    parameter_name          = "https://hooks.slack.com/services/T0/B0/x"
    signing_parameter_name  = "/sjm/dev/alerts/on-call-secret" # Slack needs none
    parameter_key_arn       = "alias/mine"
    events                  = ["execution.succeeded"]
    services                = ["bil*ing"]
    group_by                = "owner"
    window_seconds          = 0
    longest_window_seconds  = 0
    quiet_seconds           = 0
    batching_window_seconds = 301
    console_url             = "javascript:alert(1)"
    alarm_age_seconds       = 100000
    alarms_topic_arn        = "sjm-dev-alarms"
    function_defaults       = merge(var.function_defaults, { prefix = "SJM", kms_key_arn = "mine" })
  }

  expect_failures = [
    var.name,
    var.topic_arn,
    var.parameter_name,
    var.signing_parameter_name,
    var.parameter_key_arn,
    var.events,
    var.services,
    var.group_by,
    var.window_seconds,
    var.longest_window_seconds,
    var.quiet_seconds,
    var.batching_window_seconds,
    var.console_url,
    var.alarm_age_seconds,
    var.alarms_topic_arn,
    var.function_defaults,
  ]
}

run "an_unknown_kind_an_event_of_schedules_and_an_unknown_name_in_the_url" {
  command = plan

  variables {
    kind        = "mail"
    events      = ["schedule.missed"]
    console_url = "https://console.example/{job}"
  }

  expect_failures = [var.kind, var.events, var.console_url]
}

run "a_webhook_without_a_signature_and_an_event_that_is_named_twice" {
  command = plan

  variables {
    kind   = "webhook"
    events = ["execution.failed", "execution.failed"]
  }

  expect_failures = [var.signing_parameter_name, var.events]
}

run "a_route_of_nothing" {
  command = plan

  variables {
    events = []
  }

  expect_failures = [var.alarms]
}

run "an_unknown_severity_and_no_url_of_pagerduty" {
  command = plan

  variables {
    kind               = "pagerduty"
    pagerduty_severity = "fatal"
    pagerduty_url      = "http://events.pagerduty.example/v2/enqueue"
  }

  expect_failures = [var.pagerduty_severity, var.pagerduty_url]
}
