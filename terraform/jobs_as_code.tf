# Jobs as code. Of each job two things are kept: that it exists (managed_job), and what it is (job_definition). A
# change of a job replaces the second, which puts the job anew and never deletes it; only when its key goes
# from var.jobs is the job deleted.

locals {
  jobs_managed_in = coalesce(var.jobs_managed_in, "Terraform, stage ${local.prefix}")

  # What the API takes, without what was left out.
  job_bodies = {
    for key, job in var.jobs : key => jsonencode(merge(
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

  # Put after all that a job needs from its first tick on; deleted before any of it goes, and before what is
  # left of the rules is removed (rules.tf).
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

  provisioner "local-exec" {
    command = "python3 '${path.module}/manage_job.py' put '${each.key}'"
    # Compressed: Linux takes 128 KiB in one variable, and JSON may make six characters of one of the payload's.
    environment = merge(terraform_data.managed_job[each.key].input.environment, { JOB = base64gzip(each.value) })
  }
}
