# Jobs as code. Terraform keeps two resources for each job: managed_job for its existence, and job_definition for its
# content. A changed job replaces only job_definition, which puts the job again and never deletes it. Terraform deletes
# the job only when its key is removed from var.jobs.

module "typed_jobs" {
  source = "./modules/typed_jobs"

  jobs = var.jobs
}

locals {
  jobs_managed_in = coalesce(var.jobs_managed_in, "Terraform, stage ${local.prefix}")

  # The fields of the API's PUT, in its order. The variable jobs refuses others.
  required_job_fields = ["schedule", "invocation_type"]
  job_fields = [
    "schedule",
    "invocation_type",
    "invocation_target",
    "payload",
    "async",
    "test_invocation",
    "enabled",
    "exclusive",
    "ttl_seconds",
    "heartbeat_interval_seconds",
    "alert_after_failures",
    "max_duration_seconds",
    "retry",
    "catch_up",
    "workflow_type",
    "starting_deadline_seconds",
    "description",
    "owner",
    "tags",
  ]
  retry_fields = ["max_attempts", "interval_seconds", "backoff_rate", "on"]

  # The bodies for the API, without the fields that are left out.
  job_bodies = {
    for key, job in module.typed_jobs.jobs : key => jsonencode(merge(
      { for name, value in job : name => value if value != null && name != "retry" },
      { for name, retry in { retry = job.retry } : name => { for option, value in retry : option => value if value != null } if retry != null },
    ))
  }
}

resource "terraform_data" "managed_job" {
  for_each = local.job_bodies

  input = {
    command = "python3 '${path.module}/manage_job.py' delete '${each.key}'"
    environment = merge(var.command_environment, {
      MANAGE_JOB_FUNCTION = module.manage_job.function_name
      MANAGE_JOB_REGION   = local.region
      MANAGED_BY          = local.jobs_managed_in
    })
  }

  provisioner "local-exec" {
    when        = destroy
    command     = self.input.command
    environment = self.input.environment
  }

  # Terraform puts a job after everything that its first tick needs. It deletes the job before any of that, and before
  # it removes the remaining rules (rules.tf).
  depends_on = [
    module.manage_job,
    module.run_job,
    module.update_job,
    aws_apigatewayv2_route.route,
    aws_apigatewayv2_stage.default,
    aws_dynamodb_table.executions,
    aws_dynamodb_table.jobs,
    aws_dynamodb_table.schedules,
    aws_lambda_function_event_invoke_config.start_due_executions,
    aws_lambda_permission.route,
    aws_lambda_permission.rules_start_due_executions,
    aws_sns_topic_policy.topic,
    module.tick_dead_letters,
    terraform_data.schedule_rules,
  ]
}

resource "terraform_data" "job_definition" {
  for_each = local.job_bodies

  triggers_replace = {
    job        = each.value
    managed_by = local.jobs_managed_in
  }

  lifecycle {
    precondition {
      condition     = try(split(":", var.jobs[each.key].invocation_target)[2] != "sns" || split(":", var.jobs[each.key].invocation_target)[3] == local.region, true)
      error_message = "${each.key}: /invocation_target: expected a topic in ${local.region}, the region of this stage."
    }
  }

  provisioner "local-exec" {
    command = "python3 '${path.module}/manage_job.py' put '${each.key}'"
    # Compressed, because Linux limits a variable to 128 KiB and JSON can escape one character as six.
    environment = merge(terraform_data.managed_job[each.key].input.environment, { JOB = base64gzip(each.value) })
  }
}
