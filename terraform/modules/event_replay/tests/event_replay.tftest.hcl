# A plan refuses invalid inputs with an explanation.

mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  topic_arn        = "arn:aws:sns:eu-central-1:123456789012:sjm-dev-events"
  alarms_topic_arn = "arn:aws:sns:eu-central-1:123456789012:sjm-dev-alarms"
  function_defaults = {
    prefix              = "sjm-dev"
    arn_prefix          = "arn:aws:lambda:eu-central-1:123456789012:function"
    stage               = "dev"
    packages_dir        = "none"
    packages_bucket     = null
    runtime             = "python3.13"
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

run "a_replay_without_a_target" {
  command = plan

  variables {
    replay = { since = "2026-11-23T02:00:00Z", until = "2026-11-23T04:00:00Z" }
  }

  expect_failures = [var.replay]
}

run "a_replay_from_no_time" {
  command = plan

  variables {
    target = { arn = "arn:aws:sqs:eu-central-1:123456789012:mine" }
    replay = { since = "yesterday", until = "2026-11-23T04:00:00Z" }
  }

  expect_failures = [var.replay]
}

run "a_replay_that_ends_before_it_begins" {
  command = plan

  variables {
    target = { arn = "arn:aws:sqs:eu-central-1:123456789012:mine" }
    replay = { since = "2026-11-23T04:00:00Z", until = "2026-11-23T02:00:00Z" }
  }

  expect_failures = [var.replay]
}

run "a_target_that_is_the_topic_itself" {
  command = plan

  variables {
    target = { arn = "arn:aws:sns:eu-central-1:123456789012:sjm-dev-events" }
  }

  expect_failures = [var.target]
}

run "a_target_that_takes_no_events" {
  command = plan

  variables {
    target = { arn = "arn:aws:s3:::mine" }
  }

  expect_failures = [var.target]
}

run "without_a_target_nothing_can_be_replayed" {
  command = plan

  assert {
    condition     = length(aws_lambda_event_source_mapping.replay) == 0
    error_message = "There must be no event source mapping."
  }
}
