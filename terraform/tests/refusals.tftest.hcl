# Each validation of each variable refuses a value in a plan, before anything changes. One run refuses several variables
# at once. If a variable has several validations, each has its own run.

mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  stage        = "test"
  packages_dir = "nowhere"

  # For the modules.
  function_defaults = {
    prefix              = "sjm-test"
    arn_prefix          = "arn:aws:lambda:eu-central-1:123456789012:function"
    stage               = "test"
    packages_dir        = "nowhere"
    packages_bucket     = "packages"
    runtime             = "python3.8"
    memory_size         = 256
    log_level           = "INFO"
    log_retention_days  = 1
    kms_key_arn         = "arn:aws:kms:eu-central-1:123456789012:key/1"
    metrics_namespace   = "Test"
    metrics_by_stage    = true
    metrics_by_service  = false
    metrics_by_job      = false
    metrics_by_function = false
    memory_alarm_pct    = 90
  }
}

run "the_stage_refuses_what_is_no_name_number_or_schedule" {
  command = plan

  variables {
    name                       = "s-j-m"
    stage                      = "QA"
    packages_dir               = ""
    packages_bucket            = "No_Bucket"
    runtime                    = "nodejs22.x"
    memory_size                = 64
    log_level                  = "LOUD"
    log_retention_days         = 0
    alarm_thresholds           = { dead_letters = 0 }
    execution_retention_days   = 0
    schedule_limit             = 0
    trigger_type               = "timer"
    default_workflow_type      = "fast"
    index_shards               = 0
    former_index_shards        = -1
    reap_schedule              = "rate(banana)"
    reap_grace_seconds         = 0
    reconcile_schedule         = "every 15 minutes"
    missed_tick_grace_seconds  = 59
    api_throttling_rate_limit  = 0
    api_throttling_burst_limit = 0
    api_url_format             = "https://example/"
    notification_topic_arns    = ["arn:aws:sns:eu-central-1:123456789012:*"]
    command_environment        = { "NOT A NAME" = "" }
    jobs                       = "billing/nightly"
    jobs_managed_in            = ""
    callback_concurrency       = 0
  }

  expect_failures = [
    var.name,
    var.stage,
    var.packages_dir,
    var.packages_bucket,
    var.runtime,
    var.memory_size,
    var.log_level,
    var.log_retention_days,
    var.alarm_thresholds,
    var.execution_retention_days,
    var.schedule_limit,
    var.trigger_type,
    var.default_workflow_type,
    var.index_shards,
    var.former_index_shards,
    var.reap_schedule,
    var.reap_grace_seconds,
    var.reconcile_schedule,
    var.callback_concurrency,
    var.missed_tick_grace_seconds,
    var.api_throttling_rate_limit,
    var.api_throttling_burst_limit,
    var.api_url_format,
    var.notification_topic_arns,
    var.command_environment,
    var.jobs,
    var.jobs_managed_in,
  ]
}

run "the_stage_refuses_what_is_too_much_or_not_whole" {
  command = plan

  variables {
    security_group_ids         = ["sg-mine"] # the validation of subnet_ids reads them, so they are not in the run above
    name                       = "serverlessjobs"
    stage                      = "a-stage-with-a-dash"
    memory_size                = 128.5
    log_retention_days         = 2
    alarm_thresholds           = { memory_pct = 101 }
    execution_retention_days   = 3651
    schedule_limit             = 2001
    default_workflow_type      = "EXPRESS"
    index_shards               = 65
    former_index_shards        = 65
    reap_schedule              = "cron(* * * * ? *)"
    reap_grace_seconds         = 3601
    reconcile_schedule         = "cron(0 2 * * *)"
    missed_tick_grace_seconds  = 60.5
    api_throttling_rate_limit  = 10001
    api_throttling_burst_limit = 5001
    jobs                       = ["billing/nightly"]
    jobs_managed_in            = "service billing, Terraform"
  }

  expect_failures = [
    var.security_group_ids,
    var.name,
    var.stage,
    var.memory_size,
    var.log_retention_days,
    var.alarm_thresholds,
    var.execution_retention_days,
    var.schedule_limit,
    var.default_workflow_type,
    var.index_shards,
    var.former_index_shards,
    var.reap_schedule,
    var.reap_grace_seconds,
    var.reconcile_schedule,
    var.missed_tick_grace_seconds,
    var.api_throttling_rate_limit,
    var.api_throttling_burst_limit,
    var.jobs,
    var.jobs_managed_in,
  ]
}

# The runs below refuse the stage too, so that Terraform plans no function, which would need its zip.

run "the_stage_refuses_a_percentage_above_100_a_wrong_unit_and_subnets_without_groups" {
  command = plan

  variables {
    stage            = "QA"
    alarm_thresholds = { memory_pct = 101 }
    reap_schedule    = "rate(5 minute)"
    subnet_ids       = ["subnet-0123456789abcdef0"]
  }

  expect_failures = [var.stage, var.alarm_thresholds, var.reap_schedule, var.subnet_ids]
}

run "the_stage_refuses_an_alarm_from_no_late_execution_on" {
  command = plan

  variables {
    stage            = "QA"
    alarm_thresholds = { late_executions = 0 }
  }

  expect_failures = [var.stage, var.alarm_thresholds]
}

run "the_stage_refuses_a_name_that_ssm_reserves" {
  command = plan

  variables {
    name  = "ssmjobs"
    stage = "QA"
  }

  expect_failures = [var.name, var.stage]
}

run "the_stage_refuses_subnets_that_are_none" {
  command = plan

  variables {
    stage              = "QA"
    subnet_ids         = ["subnet-mine"]
    security_group_ids = ["sg-0123456789abcdef0"]
  }

  expect_failures = [var.stage, var.subnet_ids]
}

run "the_stage_refuses_security_groups_without_subnets" {
  command = plan

  variables {
    stage              = "QA"
    security_group_ids = ["sg-0123456789abcdef0"]
  }

  expect_failures = [var.stage, var.subnet_ids]
}

run "the_stage_takes_schedules_and_limits_as_aws_does" {
  command = plan

  variables {
    stage                    = "QA"
    log_retention_days       = 3653
    execution_retention_days = 3650
    reap_schedule            = "rate(1 hour)"
    reconcile_schedule       = "cron(0/10 8-17 ? * MON-FRI *)"
    command_environment      = { AWS_PROFILE = "qa" }
    notification_topic_arns  = ["arn:aws-cn:sns:cn-north-1:123456789012:topic_1"]
  }

  expect_failures = [var.stage]
}

run "a_dead_letter_queue_refuses_names_and_arns_that_are_none" {
  command = plan

  module {
    source = "./modules/dead_letter_queue"
  }

  variables {
    name        = "not a name"
    rule_arns   = ["arn:aws:sns:eu-central-1:123456789012:topic"]
    kms_key_arn = "alias/key"
    require_tls = true
  }

  expect_failures = [var.name, var.rule_arns, var.kms_key_arn]
}

run "a_function_refuses_names_limits_and_policies_that_are_none" {
  command = plan

  module {
    source = "./modules/function"
  }

  variables {
    name        = "put-job"
    description = ""
    environment = { "1ST" = "" }
    policy      = "no JSON"
    timeout     = 901
    memory_size = 127
    concurrency = 0
    network     = { subnet_ids = ["subnet-0123456789abcdef0"], security_group_ids = [] }
    defaults    = var.function_defaults
  }

  expect_failures = [
    var.name,
    var.description,
    var.environment,
    var.policy,
    var.timeout,
    var.memory_size,
    var.concurrency,
    var.network,
  ]
}

run "a_function_refuses_a_network_without_subnets" {
  command = plan

  module {
    source = "./modules/function"
  }

  variables {
    name        = "put_job"
    description = "Puts a job."
    network     = { subnet_ids = [], security_group_ids = ["sg-0123456789abcdef0"] }
    defaults    = var.function_defaults
  }

  expect_failures = [var.network]
}

run "a_state_machine_refuses_names_types_and_files_that_are_none" {
  command = plan

  module {
    source = "./modules/state_machine"
  }

  variables {
    name               = "Run_Job"
    type               = "QUICK"
    definition_file    = "../README.md"
    functions          = {}
    log_retention_days = 0
    kms_key_arn        = "alias/key"
  }

  expect_failures = [
    var.name,
    var.type,
    var.definition_file,
    var.functions,
    var.log_retention_days,
    var.kms_key_arn,
  ]
}

run "the_protection_of_tables_refuses_what_is_no_table" {
  command = plan

  module {
    source = "./modules/table_protection"
  }

  variables {
    table_arns = { jobs = "arn:aws:sns:eu-central-1:123456789012:topic" }
  }

  expect_failures = [var.table_arns]
}

run "an_archive_of_events_refuses_what_is_no_topic_name_or_time" {
  command = plan

  module {
    source = "./modules/event_archive"
  }

  variables {
    topic_arn               = "arn:aws:sqs:eu-central-1:123456789012:events"
    alarms_topic_arn        = "alarms"
    retention_days          = 0
    batching_window_seconds = 301
    alarm_age_seconds       = 60
    function_defaults       = merge(var.function_defaults, { prefix = "SJM" })
  }

  expect_failures = [
    var.topic_arn,
    var.function_defaults,
    var.alarms_topic_arn,
    var.retention_days,
    var.batching_window_seconds,
    var.alarm_age_seconds,
  ]
}

run "a_search_of_events_refuses_what_is_no_archive_name_or_limit" {
  command = plan

  module {
    source = "./modules/event_search"
  }

  variables {
    archive                 = { bucket = "No_Bucket", events_prefix = "events", retention_days = 0 }
    alarms_topic_arn        = "alarms"
    scanned_gigabytes_limit = 0
    alarm_scanned_gigabytes = 0
    function_defaults       = merge(var.function_defaults, { prefix = "SJM" })
  }

  expect_failures = [
    var.archive,
    var.function_defaults,
    var.alarms_topic_arn,
    var.scanned_gigabytes_limit,
    var.alarm_scanned_gigabytes,
  ]
}

run "a_replay_of_events_refuses_what_is_no_topic_or_name" {
  command = plan

  module {
    source = "./modules/event_replay"
  }

  variables {
    topic_arn         = "arn:aws:sqs:eu-central-1:123456789012:events"
    alarms_topic_arn  = "alarms"
    concurrency       = 0
    function_defaults = merge(var.function_defaults, { prefix = "SJM" })
  }

  expect_failures = [var.topic_arn, var.function_defaults, var.alarms_topic_arn, var.concurrency]
}

run "a_subscription_refuses_what_is_no_name_queue_or_key" {
  command = plan

  module {
    source = "./modules/subscription"
  }

  variables {
    name                   = "bill ing"
    topic_arn              = "arn:aws:sns:eu-central-1:123456789012:sjm-dev-events"
    function               = { arn = "arn:aws:lambda:eu-central-1:123456789012:layer:mine" }
    dead_letter_queue      = { arn = "dead" }
    dead_letter_queue_name = "dead letters"
    kms_key_arn            = "alias/key"
    alarms_topic           = { arn = "alarms" }
    alarm_description      = format("%1025s", "")
  }

  expect_failures = [
    var.name,
    var.function,
    var.dead_letter_queue,
    var.dead_letter_queue_name,
    var.kms_key_arn,
    var.alarms_topic,
    var.alarm_description,
  ]
}

run "an_archive_of_events_refuses_what_is_no_key" {
  command = plan

  module {
    source = "./modules/event_archive"
  }

  variables {
    topic_arn         = "arn:aws:sns:eu-central-1:123456789012:sjm-test-events"
    alarms_topic_arn  = "arn:aws:sns:eu-central-1:123456789012:sjm-test-alarms"
    function_defaults = merge(var.function_defaults, { kms_key_arn = "alias/key" })
  }

  expect_failures = [var.function_defaults]
}

run "a_search_of_events_refuses_a_prefix_that_is_no_folder_and_what_is_no_key" {
  command = plan

  module {
    source = "./modules/event_search"
  }

  variables {
    archive           = { bucket = "events-of-test", events_prefix = "events", retention_days = 30 }
    alarms_topic_arn  = "arn:aws:sns:eu-central-1:123456789012:sjm-test-alarms"
    function_defaults = merge(var.function_defaults, { kms_key_arn = "alias/key" })
  }

  expect_failures = [var.archive, var.function_defaults]
}

run "a_search_of_events_refuses_what_is_no_bucket" {
  command = plan

  module {
    source = "./modules/event_search"
  }

  variables {
    archive          = { bucket = "No_Bucket", events_prefix = "events/", retention_days = 30 }
    alarms_topic_arn = "arn:aws:sns:eu-central-1:123456789012:sjm-test-alarms"
  }

  expect_failures = [var.archive]
}

run "a_search_of_events_refuses_days_that_are_not_whole" {
  command = plan

  module {
    source = "./modules/event_search"
  }

  variables {
    archive          = { bucket = "events-of-test", events_prefix = "events/", retention_days = 0.5 }
    alarms_topic_arn = "arn:aws:sns:eu-central-1:123456789012:sjm-test-alarms"
  }

  expect_failures = [var.archive]
}

run "a_replay_of_events_refuses_what_is_no_key" {
  command = plan

  module {
    source = "./modules/event_replay"
  }

  variables {
    topic_arn         = "arn:aws:sns:eu-central-1:123456789012:sjm-test-events"
    alarms_topic_arn  = "arn:aws:sns:eu-central-1:123456789012:sjm-test-alarms"
    function_defaults = merge(var.function_defaults, { kms_key_arn = "alias/key" })
  }

  expect_failures = [var.function_defaults]
}
