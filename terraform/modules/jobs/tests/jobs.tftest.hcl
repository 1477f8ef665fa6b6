# Without a provider: a plan needs neither a stage nor credentials. The module checked_jobs tests what it refuses of a job.

variables {
  stage   = "prod"
  service = "billing"
  jobs    = {}
}

run "it_refuses_what_is_no_name_region_place_or_map" {
  command = plan

  variables {
    stage               = "PROD"
    service             = "billing/nightly"
    jobs                = ["nightly"]
    name                = "s-j-m"
    region              = "Frankfurt"
    managed_in          = ""
    command_environment = { "NOT A NAME" = "" }
  }

  expect_failures = [
    var.stage,
    var.service,
    var.jobs,
    var.name,
    var.region,
    var.managed_in,
    var.command_environment,
  ]
}

run "it_refuses_a_service_whose_jobs_may_be_taken_for_another_ones" {
  command = plan

  variables {
    service = "billing--eu"
  }

  expect_failures = [var.service]
}

run "it_refuses_a_service_that_clients_remove_from_a_path" {
  command = plan

  variables {
    service = ".."
  }

  expect_failures = [var.service]
}

run "it_refuses_a_topic_of_another_region" {
  command = plan

  variables {
    region = "eu-central-1"
    jobs = {
      nightly = { schedule = "rate(1 day)", invocation_type = "sns", invocation_target = "arn:aws:sns:us-east-1:123456789012:topic" }
    }
  }

  expect_failures = [terraform_data.job_definition["billing/nightly"]]
}

run "its_commands_know_the_stage_and_nothing_of_a_function" {
  command = plan

  variables {
    region              = "eu-central-1"
    command_environment = { AWS_PROFILE = "prod" }
    jobs = {
      nightly = { schedule = "rate(1 day)", invocation_type = "sns", ttl_seconds = "60" }
      hourly  = { schedule = "rate(1 hour)", invocation_type = "http", invocation_target = "https://billing.example/hourly" }
    }
  }

  assert {
    condition     = toset(keys(terraform_data.managed_job)) == toset(["billing/hourly", "billing/nightly"])
    error_message = "Each job must belong to the service."
  }

  assert {
    condition = jsonencode(terraform_data.managed_job["billing/nightly"].input.environment) == jsonencode({
      AWS_PROFILE       = "prod"
      MANAGED_BY        = "Terraform"
      MANAGE_JOB_NAME   = "sjm"
      MANAGE_JOB_REGION = "eu-central-1"
      MANAGE_JOB_STAGE  = "prod"
    })
    error_message = "The commands must reach the stage through its API."
  }

  assert {
    condition     = jsondecode(terraform_data.job_definition["billing/nightly"].triggers_replace.job).ttl_seconds == 60
    error_message = "A job must have the types of the API."
  }
}
