# Jobs as code in the repository of their service. It is what jobs_as_code.tf is to the stage, but the jobs are put and
# deleted through the API, because IAM can limit a caller of the API to one service.

module "checked_jobs" {
  source = "../checked_jobs"

  jobs = { for job_name, job in var.jobs : "${var.service}/${job_name}" => job }
}

locals {
  prefix = "${var.name}-${var.stage}"
}

resource "terraform_data" "managed_job" {
  for_each = module.checked_jobs.bodies

  input = {
    command = "python3 '${path.module}/../../manage_job.py' delete '${each.key}'"
    environment = merge(
      var.command_environment,
      {
        MANAGE_JOB_STAGE = var.stage
        MANAGE_JOB_NAME  = var.name
        MANAGED_BY       = var.managed_in
      },
      var.region == null ? {} : { MANAGE_JOB_REGION = var.region },
    )
  }

  # With another stage, Terraform deletes the job in the former one. The region adds nothing to it: no account has two
  # stages of one name.
  triggers_replace = local.prefix

  provisioner "local-exec" {
    when        = destroy
    command     = self.input.command
    environment = self.input.environment
  }
}

resource "terraform_data" "job_definition" {
  for_each = module.checked_jobs.bodies

  triggers_replace = {
    job        = each.value
    managed_by = var.managed_in
    prefix     = local.prefix
  }

  lifecycle {
    precondition {
      condition     = var.region == null || try(split(":", jsondecode(each.value).invocation_target)[2] != "sns" || split(":", jsondecode(each.value).invocation_target)[3] == var.region, true)
      error_message = "${each.key}: /invocation_target: expected a topic in ${coalesce(var.region, "-")}, the region of this stage."
    }
  }

  provisioner "local-exec" {
    command = "python3 '${path.module}/../../manage_job.py' put '${each.key}'"
    # Compressed, because Linux limits a variable to 128 KiB and JSON can escape one character as six.
    environment = merge(terraform_data.managed_job[each.key].input.environment, { JOB = base64gzip(each.value) })
  }
}
