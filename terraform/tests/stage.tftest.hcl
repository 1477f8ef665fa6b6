# The logic of the stage: what it derives from its inputs. tests/unit/terraform/test_terraform_tests.py creates
# stand-ins for the functions' packages and runs these tests. Afterwards you can run them yourself:
# terraform -chdir=terraform test

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

# These need different ARNs, so that the assertions can tell them apart.

override_resource {
  target          = module.tick_dead_letters.aws_sqs_queue.queue
  override_during = plan
  values          = { arn = "arn:aws:sqs:eu-central-1:123456789012:sjm-test-tick-dead-letters" }
}

override_resource {
  target          = module.upkeep_dead_letters.aws_sqs_queue.queue
  override_during = plan
  values          = { arn = "arn:aws:sqs:eu-central-1:123456789012:sjm-test-upkeep-dead-letters" }
}

override_resource {
  target          = module.reap_executions.aws_lambda_function.function
  override_during = plan
  values          = { arn = "arn:aws:lambda:eu-central-1:123456789012:function:sjm-test-reap-executions" }
}

override_resource {
  target          = module.reconcile_schedules.aws_lambda_function.function
  override_during = plan
  values          = { arn = "arn:aws:lambda:eu-central-1:123456789012:function:sjm-test-reconcile-schedules" }
}

override_resource {
  target          = aws_sns_topic.alarms
  override_during = plan
  values          = { arn = "arn:aws:sns:eu-central-1:123456789012:sjm-test-alarms" }
}

variables {
  stage        = "test"
  packages_dir = "../.local/stand-in-packages"
  runtime      = "python3.8" # the newest that the local stage's provider accepts
}

run "as_on_aws" {
  command = plan

  assert {
    condition     = length(setsubtract(keys(output.function_names), [for file in fileset(var.packages_dir, "*.zip") : trimsuffix(file, ".zip")])) == 0
    error_message = "Each function must have its package."
  }

  assert {
    condition     = alltrue([for function, name in output.function_names : name == "sjm-test-${replace(function, "_", "-")}"])
    error_message = "A function's name must be the stage's prefix and its own name with dashes."
  }

  assert {
    condition     = local.start_due_arn == "arn:aws:lambda:eu-central-1:123456789012:function:${output.function_names.start_due_executions}"
    error_message = "The ARN built from names must be that of start_due_executions."
  }

  assert {
    condition     = endswith(local.run_job_arn, ":${module.run_job.name}") && endswith(local.update_job_arn, ":${module.update_job.name}")
    error_message = "The ARNs built from names must be those of the state machines."
  }

  assert {
    condition     = local.seconds_to_sweep == 240
    error_message = "By default, the sweep acts on a deadline after a minute of grace, one until it comes, and two to work."
  }

  assert {
    condition     = keys(aws_apigatewayv2_route.route) == keys(local.routes) && keys(aws_lambda_permission.route) == keys(local.routes)
    error_message = "Each route must exist and have its permission to invoke."
  }

  assert {
    condition     = toset(keys(aws_apigatewayv2_integration.function)) == toset([for route in local.routes : route.function])
    error_message = "Exactly the functions that answer routes must have an integration."
  }

  assert {
    condition     = alltrue([for function, integration in aws_apigatewayv2_integration.function : integration.integration_uri == local.functions[function].invoke_arn])
    error_message = "An integration must invoke its function."
  }

  assert {
    condition = alltrue([
      for key, route in local.routes :
      aws_apigatewayv2_route.route[key].target == "integrations/${aws_apigatewayv2_integration.function[route.function].id}"
      && aws_apigatewayv2_route.route[key].authorization_type == route.authorization
      && aws_lambda_permission.route[key].function_name == output.function_names[route.function]
    ])
    error_message = "A route must have its function and its authorization, and may invoke that function."
  }

  assert {
    condition     = length(distinct([for permission in aws_lambda_permission.route : "${permission.function_name} ${permission.statement_id}"])) == length(local.routes)
    error_message = "Two permissions of one function must have different statement ids."
  }

  assert {
    condition = alltrue([
      for key, permission in aws_lambda_permission.route :
      can(regex("^arn:aws:execute-api:eu-central-1:123456789012:mocked/\\*/${split(" ", key)[0]}/[^{}]*$", permission.source_arn))
    ])
    error_message = "A permission must match its route's method and path, with a * for each parameter."
  }

  assert {
    condition     = alltrue([for key, integration in aws_apigatewayv2_integration.function : integration.timeout_milliseconds <= 30000])
    error_message = "An integration must not exceed the 30 s that an HTTP API waits."
  }

  assert {
    condition = alltrue([
      for queue in values(local.dead_letter_queues) :
      length([for alarm in aws_cloudwatch_metric_alarm.alarm : alarm if try(alarm.dimensions.QueueName, "") == queue]) == 1
    ])
    error_message = "Each dead-letter queue must have exactly one alarm."
  }

  assert {
    condition = alltrue([
      for alarm in values(aws_cloudwatch_metric_alarm.alarm) :
      alarm.alarm_actions == toset([aws_sns_topic.alarms.arn]) && alarm.ok_actions == toset([aws_sns_topic.alarms.arn])
    ])
    error_message = "Each alarm must notify the topic of alarms, also when it is over."
  }

  assert {
    condition     = setsubtract(keys(local.alarms), keys(aws_cloudwatch_metric_alarm.alarm)) == toset(["late-executions"])
    error_message = "By default, a stage must have each alarm but that of late executions."
  }

  assert {
    condition     = aws_lambda_function_event_invoke_config.start_due_executions.destination_config[0].on_failure[0].destination == module.tick_dead_letters.arn
    error_message = "A failed tick must go to the dead-letter queue of ticks."
  }

  assert {
    condition = (
      aws_sqs_queue.spread[0].visibility_timeout_seconds >= 6 * local.spread_timeout
      && jsondecode(aws_sqs_queue.spread[0].redrive_policy).deadLetterTargetArn == module.tick_dead_letters.arn
      && endswith(local.spread_queue_arn, ":${aws_sqs_queue.spread[0].name}")
      && aws_lambda_event_source_mapping.spread[0].batch_size == 1
      && contains(keys(output.function_names), "start_spread_executions")
    )
    error_message = "The queue of spread starts must wait for its function and keep dead letters with those of ticks."
  }

  assert {
    condition     = toset(keys(aws_cloudwatch_event_rule.upkeep)) == toset(keys(local.upkeep))
    error_message = "Each entry of upkeep must have one rule."
  }

  assert {
    condition = alltrue([
      for function in keys(local.upkeep) :
      aws_cloudwatch_event_target.upkeep[function].arn == local.functions[function].arn
      && aws_cloudwatch_event_target.upkeep[function].dead_letter_config[0].arn == module.upkeep_dead_letters.arn
      && aws_lambda_function_event_invoke_config.upkeep[function].function_name == output.function_names[function]
      && aws_lambda_function_event_invoke_config.upkeep[function].destination_config[0].on_failure[0].destination == module.upkeep_dead_letters.arn
      && aws_lambda_permission.upkeep[function].function_name == output.function_names[function]
    ])
    error_message = "Each upkeep rule must invoke its function, have the permission to, and use the dead-letter queue."
  }

  assert {
    condition     = alltrue([for rule in aws_cloudwatch_event_rule.upkeep : !startswith(rule.name, trimsuffix(split("/", local.schedule_rule_arn)[1], "*"))])
    error_message = "The name of an upkeep rule must not match the pattern of jobs' rules."
  }

  assert {
    condition     = local.triggers_environment.TRIGGER_TYPE == "rule" && local.triggers_environment.SCHEDULER_ROLE_ARN == aws_iam_role.scheduler.arn
    error_message = "By default, plain schedules must have rules, and functions must know the role of EventBridge Scheduler."
  }

  assert {
    condition     = local.scheduler_schedule_arn == "arn:aws:scheduler:eu-central-1:123456789012:schedule/default/sjm-test-schedule-*"
    error_message = "The schedules of jobs must be in the default group, and have the stage's prefix."
  }

  assert {
    condition     = keys(aws_sns_topic_policy.topic) == keys(local.topics) && length(data.aws_iam_policy_document.alarms_topic.statement) == 2
    error_message = "Every topic must refuse calls without TLS."
  }

  assert {
    condition     = keys(aws_cloudwatch_query_definition.query) == keys(local.queries)
    error_message = "Every query must be saved."
  }

  assert {
    condition     = alltrue([for row in local.dashboard_rows_shown : sum(row.widgets[*].width) == 24])
    error_message = "The widgets of a row must fill the dashboard."
  }

  assert {
    condition     = output.dashboard_url == local.dashboard_url && length(aws_cloudwatch_dashboard.stage) == 1
    error_message = "A stage must have a dashboard by default."
  }

  assert {
    condition     = aws_ssm_parameter.api_url.name == "/sjm/test/api-url" && aws_ssm_parameter.api_url.value == output.api_url
    error_message = "The API's URL must be published where the client looks for it."
  }

  assert {
    condition     = output.api_url == aws_apigatewayv2_api.stage.api_endpoint
    error_message = "On AWS, the API's URL must be that of API Gateway."
  }

  assert {
    condition = alltrue([
      for table in [aws_dynamodb_table.jobs, aws_dynamodb_table.executions, aws_dynamodb_table.schedules, aws_dynamodb_table.services, aws_dynamodb_table.limits] :
      table.point_in_time_recovery[0].enabled && table.server_side_encryption[0].kms_key_arn == aws_kms_key.stage.arn
    ])
    error_message = "Every table must be restorable and encrypted with the stage's key."
  }

  assert {
    condition     = length(terraform_data.managed_job) == 0
    error_message = "Without jobs as code, there must be no managed job."
  }
}

run "with_an_alarm_for_late_executions" {
  command = plan

  variables {
    alarm_thresholds = { late_executions = 5 }
  }

  assert {
    condition     = keys(aws_cloudwatch_metric_alarm.alarm) == keys(local.alarms) && aws_cloudwatch_metric_alarm.alarm["late-executions"].threshold == 5
    error_message = "A threshold of late_executions must make the alarm."
  }
}

run "with_switches_off_and_jobs_as_code" {
  command = plan

  variables {
    require_tls            = false
    trigger_type           = "scheduler"
    spread                 = false
    saved_queries          = false
    point_in_time_recovery = false
    metrics_by_service     = true
    metrics_by_function    = true
    dashboard              = false
    api_url_format         = "http://localhost:4566/apis/%s/here"
    reap_grace_seconds     = 600
    reap_schedule          = "rate(2 hours)"

    jobs = {
      "billing/nightly" = {
        schedule        = "cron(0 2 * * ? *)"
        invocation_type = "sns"
        retry           = { max_attempts = 3 }
      }
      "billing/hourly" = {
        schedule        = "rate(1 hour)"
        invocation_type = "sns"
        owner           = null
        ttl_seconds     = "60"
        exclusive       = true
        overlap         = "queue_one"
      }
    }
  }

  assert {
    condition     = length(aws_sns_topic_policy.topic) == 0 && length(data.aws_iam_policy_document.alarms_topic.statement) == 1
    error_message = "Without require_tls, no topic may refuse calls without TLS."
  }

  assert {
    condition     = alltrue([for row in local.dashboard_rows_shown : sum(row.widgets[*].width) == 24])
    error_message = "With more metrics, the widgets of a row must also fill the dashboard."
  }

  assert {
    condition = alltrue([
      length(aws_sqs_queue.spread) == 0,
      length(aws_lambda_event_source_mapping.spread) == 0,
      !contains(keys(output.function_names), "start_spread_executions"),
      local.spread_environment.SPREAD == "false",
    ])
    error_message = "Without spread, there must be no queue, no function and no mapping, and the functions must know."
  }

  assert {
    condition     = local.triggers_environment.TRIGGER_TYPE == "scheduler"
    error_message = "The functions must know the stage's type of triggers."
  }

  assert {
    condition     = local.seconds_to_sweep == 600 + 7200 + 120 && local.sweep_environment.SECONDS_TO_SWEEP == "7920"
    error_message = "The locks of Express executions must last as long as the sweep may take."
  }

  assert {
    condition     = output.dashboard_url == null && length(aws_cloudwatch_dashboard.stage) == 0
    error_message = "Without dashboard, there must be none, and no URL of it."
  }

  assert {
    condition     = length(aws_cloudwatch_query_definition.query) == 0
    error_message = "Without saved_queries, no query may be saved."
  }

  assert {
    condition     = output.api_url == "http://localhost:4566/apis/${aws_apigatewayv2_api.stage.id}/here"
    error_message = "The API's URL must follow api_url_format."
  }

  assert {
    condition = alltrue([
      for table in [aws_dynamodb_table.jobs, aws_dynamodb_table.executions, aws_dynamodb_table.schedules, aws_dynamodb_table.services, aws_dynamodb_table.limits] :
      !table.point_in_time_recovery[0].enabled
    ])
    error_message = "Without point_in_time_recovery, no table may have it enabled."
  }

  assert {
    condition     = toset(keys(terraform_data.managed_job)) == toset(keys(var.jobs)) && toset(keys(terraform_data.job_definition)) == toset(keys(var.jobs))
    error_message = "Each job must have a managed_job and a job_definition."
  }

  assert {
    condition     = jsondecode(module.checked_jobs.bodies["billing/nightly"]) == { schedule = "cron(0 2 * * ? *)", invocation_type = "sns", retry = { max_attempts = 3 } }
    error_message = "The body for the API must not contain fields that the job leaves out."
  }

  assert {
    condition     = jsondecode(module.checked_jobs.bodies["billing/hourly"]) == { schedule = "rate(1 hour)", invocation_type = "sns", ttl_seconds = 60, exclusive = true, overlap = "queue_one" }
    error_message = "Jobs may have different fields, nulls, and strings for numbers."
  }

  assert {
    condition     = terraform_data.managed_job["billing/nightly"].input.environment.MANAGE_JOB_FUNCTION == output.function_names.manage_job
    error_message = "manage_job must put and delete the jobs."
  }
}

run "a_topic_in_another_region" {
  command = plan

  variables {
    jobs = {
      "billing/nightly" = {
        schedule          = "cron(0 2 * * ? *)"
        invocation_type   = "sns"
        invocation_target = "arn:aws:sns:us-east-1:123456789012:billing"
      }
    }
  }

  expect_failures = [terraform_data.job_definition]
}
