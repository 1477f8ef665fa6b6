# Jobs as code. Terraform keeps two resources for each job: managed_job for its existence, and job_definition for its
# content. A changed job replaces only job_definition, which puts the job again and never deletes it. Terraform deletes
# the job only when its key is removed from var.jobs.

module "checked_jobs" {
  source = "./modules/checked_jobs"

  jobs = var.jobs
}

locals {
  jobs_managed_in = coalesce(var.jobs_managed_in, "Terraform, stage ${local.prefix}")
}

resource "terraform_data" "managed_job" {
  for_each = module.checked_jobs.bodies

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
  # it removes the remaining triggers (triggers.tf).
  depends_on = [
    module.manage_job,
    module.run_job,
    module.update_job,
    aws_apigatewayv2_route.route,
    aws_apigatewayv2_stage.default,
    aws_dynamodb_table.executions,
    aws_dynamodb_table.jobs,
    aws_dynamodb_table.limits,
    aws_dynamodb_table.schedules,
    aws_iam_role_policy.scheduler,
    aws_lambda_event_source_mapping.spread,
    aws_lambda_function_event_invoke_config.start_due_executions,
    aws_lambda_permission.route,
    aws_lambda_permission.rules_start_due_executions,
    aws_sns_topic_policy.topic,
    module.tick_dead_letters,
    terraform_data.schedule_rules,
  ]
}

resource "terraform_data" "job_definition" {
  for_each = module.checked_jobs.bodies

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
