# The functions with which the stage looks after itself. upkeep.tf schedules them.

module "reap_executions" {
  source = "./modules/function"

  name        = "reap_executions"
  defaults    = local.function_defaults
  description = "Looks after open executions: times out overdue ones, starts Express attempts; publishes pending events of jobs."
  policy      = data.aws_iam_policy_document.reap_executions.json
  timeout     = 300

  environment = merge(local.shards_environment, local.shards_to_read_environment, local.machines_environment, local.sweep_environment, local.settling_environment, local.waiting_environment, {
    JOBS_TABLE         = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE   = aws_dynamodb_table.executions.name
    EVENTS_TOPIC_ARN   = aws_sns_topic.events.arn
    RETENTION_DAYS     = tostring(var.execution_retention_days)
    REAP_GRACE_SECONDS = tostring(var.reap_grace_seconds)
  })
}

data "aws_iam_policy_document" "reap_executions" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.update_jobs.json,
    data.aws_iam_policy_document.read_executions.json,
    data.aws_iam_policy_document.update_executions.json,
    data.aws_iam_policy_document.find_open_executions.json,
    # Of a Standard execution, only if it has waited, and the function died that was to start it.
    data.aws_iam_policy_document.start_run_job.json,
    data.aws_iam_policy_document.fail_tasks.json,
    data.aws_iam_policy_document.stop_run_job.json,
    data.aws_iam_policy_document.end_waiting_executions.json,
    data.aws_iam_policy_document.let_others_start.json,
    data.aws_iam_policy_document.have_jobs_paused.json,
    data.aws_iam_policy_document.have_children_started.json,
    data.aws_iam_policy_document.publish_events.json,
    data.aws_iam_policy_document.encrypt_for_topics.json,
    data.aws_iam_policy_document.keep_failed_upkeep.json,
    data.aws_iam_policy_document.encrypt_for_queues.json,
  ]

  statement {
    sid       = "FindUntoldChanges"
    actions   = ["dynamodb:Query"]
    resources = ["${aws_dynamodb_table.jobs.arn}/index/untold"]
  }

  statement {
    sid       = "SeeWhetherAnExecutionOfTheRunJobMachineRuns"
    actions   = ["states:DescribeExecution"]
    resources = ["${replace(local.run_job_arn, ":stateMachine:", ":execution:")}:*"]
  }
}

module "reconcile_schedules" {
  source = "./modules/function"

  name        = "reconcile_schedules"
  defaults    = local.function_defaults
  description = "Makes the triggers match the jobs, publishes which ticks were missed, and completes jobs."
  policy      = data.aws_iam_policy_document.reconcile_schedules.json
  timeout     = 29
  memory_size = max(512, var.memory_size)

  environment = merge(local.triggers_environment, local.changes_environment, {
    EXECUTIONS_TABLE          = aws_dynamodb_table.executions.name
    MISSED_TICK_GRACE_SECONDS = tostring(var.missed_tick_grace_seconds)
  })
}

data "aws_iam_policy_document" "reconcile_schedules" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_jobs.json,
    data.aws_iam_policy_document.update_jobs.json,
    data.aws_iam_policy_document.find_due_jobs.json,
    data.aws_iam_policy_document.read_many_executions.json,
    data.aws_iam_policy_document.read_schedules.json,
    data.aws_iam_policy_document.query_schedules.json,
    data.aws_iam_policy_document.update_schedules.json,
    data.aws_iam_policy_document.delete_schedules.json,
    data.aws_iam_policy_document.make_schedule_triggers.json,
    data.aws_iam_policy_document.remove_schedule_triggers.json,
    data.aws_iam_policy_document.invoke_start_due_executions.json,
    data.aws_iam_policy_document.publish_events.json,
    data.aws_iam_policy_document.encrypt_for_topics.json,
    data.aws_iam_policy_document.keep_failed_upkeep.json,
    data.aws_iam_policy_document.encrypt_for_queues.json,
  ]

  # ListRules and ListSchedules take no resource.
  statement {
    sid       = "FindScheduleTriggers"
    actions   = ["events:ListRules", "scheduler:ListSchedules"]
    resources = ["*"]
  }
}
