# These tests use the real provider, which renders the policies. They override every resource, so nothing is created.

provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_get_ec2_platforms      = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_resource {
  target = aws_cloudwatch_log_group.function
  values = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/sjm-test-put-job" }
}

override_resource {
  target = aws_iam_role.function
  values = { arn = "arn:aws:iam::123456789012:role/sjm-test-put-job", id = "sjm-test-put-job" }
}

override_resource {
  target = aws_iam_role_policy.function
}

override_resource {
  target = aws_lambda_function.function
  values = { arn = "arn:aws:lambda:eu-central-1:123456789012:function:sjm-test-put-job" }
}

variables {
  name        = "put_job"
  description = "Puts a job."
  environment = { JOBS_TABLE = "sjm-test-jobs", STAGE = "another" }

  # tests/unit/terraform/test_terraform_tests.py creates a stand-in for the package.
  defaults = {
    prefix              = "sjm-test"
    arn_prefix          = "arn:aws:lambda:eu-central-1:123456789012:function"
    stage               = "test"
    packages_dir        = "../../../.local/stand-in-packages"
    packages_bucket     = null
    runtime             = "python3.8"
    memory_size         = 256
    log_level           = "INFO"
    log_retention_days  = 30
    kms_key_arn         = "arn:aws:kms:eu-central-1:123456789012:key/01234567-0123-0123-0123-0123456789ab"
    metrics_namespace   = "ServerlessJobManager"
    metrics_by_stage    = true
    metrics_by_service  = false
    metrics_by_job      = false
    metrics_by_function = false
    memory_alarm_pct    = 90
  }
}

run "without_a_policy" {
  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement.Sid] == ["WriteItsOwnLogs", "SendTraces"]
    error_message = "A function without a policy may only write its own logs and send traces."
  }

  assert {
    condition     = aws_iam_role_policy.function.role == aws_iam_role.function.id && aws_lambda_function.function.role == aws_iam_role.function.arn
    error_message = "The policy must belong to the role, and the role to the function."
  }

  assert {
    condition     = jsondecode(aws_iam_role.function.assume_role_policy).Statement[0].Principal == { Service = "lambda.amazonaws.com" }
    error_message = "Only Lambda may assume the role."
  }

  assert {
    condition     = alltrue([for name in [aws_iam_role.function.name, aws_iam_role_policy.function.name, aws_lambda_function.function.function_name] : name == "sjm-test-put-job"])
    error_message = "The function, its role and its policy must have the same name."
  }

  assert {
    condition     = aws_cloudwatch_log_group.function.name == "/aws/lambda/${aws_lambda_function.function.function_name}"
    error_message = "The log group must be the one that Lambda writes to."
  }

  assert {
    condition     = aws_lambda_function.function.environment[0].variables.STAGE == "test" && aws_lambda_function.function.environment[0].variables.JOBS_TABLE == "sjm-test-jobs"
    error_message = "A function must get its own variables, and must not override those of every function."
  }

  assert {
    condition     = aws_lambda_function.function.memory_size == 256 && aws_lambda_function.function.timeout == 15
    error_message = "Settings that a function does not set must have the defaults."
  }

  assert {
    condition     = endswith(aws_lambda_function.function.filename, "/put_job.zip") && aws_lambda_function.function.s3_bucket == null
    error_message = "Without a bucket, the provider must upload the package."
  }
}

run "with_a_policy_of_its_own" {
  variables {
    memory_size = 512
    timeout     = 29
    policy = jsonencode({
      Version   = "2012-10-17"
      Statement = [{ Sid = "ReadJobs", Effect = "Allow", Action = "dynamodb:GetItem", Resource = "arn:aws:dynamodb:eu-central-1:123456789012:table/sjm-test-jobs" }]
    })
  }

  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement.Sid] == ["ReadJobs", "WriteItsOwnLogs", "SendTraces"]
    error_message = "The function's own policy must be added to what every function may do."
  }

  assert {
    condition     = aws_lambda_function.function.memory_size == 512 && aws_lambda_function.function.timeout == 29 && output.timeout == 29
    error_message = "The function's own settings must apply."
  }
}

run "from_a_bucket" {
  command = plan

  variables {
    defaults = {
      prefix              = "sjm-test"
      arn_prefix          = "arn:aws:lambda:eu-central-1:123456789012:function"
      stage               = "test"
      packages_dir        = "../../../.local/stand-in-packages"
      packages_bucket     = "packages"
      runtime             = "python3.8"
      memory_size         = 256
      log_level           = "INFO"
      log_retention_days  = 30
      kms_key_arn         = "arn:aws:kms:eu-central-1:123456789012:key/01234567-0123-0123-0123-0123456789ab"
      metrics_namespace   = "ServerlessJobManager"
      metrics_by_stage    = true
      metrics_by_service  = false
      metrics_by_job      = true
      metrics_by_function = false
      memory_alarm_pct    = 90
    }
  }

  assert {
    condition     = aws_lambda_function.function.s3_bucket == "packages" && aws_lambda_function.function.s3_key == "put_job.zip" && aws_lambda_function.function.filename == null
    error_message = "With a bucket, the package must come from the bucket."
  }

  assert {
    condition     = aws_lambda_function.function.source_code_hash == filebase64sha256("${var.defaults.packages_dir}/put_job.zip")
    error_message = "A changed package must change the function, with or without a bucket."
  }
}
