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

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_resource {
  target = aws_cloudwatch_log_group.machine
  values = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/vendedlogs/states/sjm-test-run-job" }
}

override_resource {
  target = aws_iam_role.machine
  values = { arn = "arn:aws:iam::123456789012:role/sjm-test-run-job", id = "sjm-test-run-job" }
}

override_resource {
  target = aws_iam_role_policy.machine
}

override_resource {
  target = aws_sfn_state_machine.machine
  values = { arn = "arn:aws:states:eu-central-1:123456789012:stateMachine:sjm-test-run-job" }
}

variables {
  name               = "sjm-test-run-job"
  type               = "STANDARD"
  definition_file    = "../../../statemachine.asl.json"
  log_retention_days = 30
  kms_key_arn        = "arn:aws:kms:eu-central-1:123456789012:key/01234567-0123-0123-0123-0123456789ab"

  functions = {
    run_execution    = "arn:aws:lambda:eu-central-1:123456789012:function:sjm-test-run-execution"
    finish_execution = "arn:aws:lambda:eu-central-1:123456789012:function:sjm-test-finish-execution"
  }

  former_functions = {
    notify_service = "arn:aws:lambda:eu-central-1:123456789012:function:sjm-test-notify-service"
  }
}

run "one_machine" {
  assert {
    condition     = jsondecode(aws_sfn_state_machine.machine.definition).States.RunJob.Arguments.FunctionName == var.functions.run_execution
    error_message = "Each placeholder must be replaced by its function's ARN."
  }

  assert {
    condition     = jsondecode(aws_sfn_state_machine.machine.definition).States.SettleExecution.Resource == "arn:aws:states:::lambda:invoke"
    error_message = "The partition must be replaced."
  }

  assert {
    condition = (
      toset([for arn in jsondecode(aws_iam_role_policy.machine.policy).Statement[0].Resource : trimsuffix(arn, ":*")])
      == toset(concat(values(var.functions), values(var.former_functions)))
    )
    error_message = "The machine may invoke only its functions, and those of earlier definitions."
  }

  assert {
    condition     = aws_iam_role_policy.machine.role == aws_iam_role.machine.id && aws_sfn_state_machine.machine.role_arn == aws_iam_role.machine.arn
    error_message = "The policy must belong to the role, and the role to the machine."
  }

  assert {
    condition     = jsonencode(jsondecode(aws_iam_role.machine.assume_role_policy).Statement[0].Condition.StringEquals) == jsonencode({ "aws:SourceAccount" = ["123456789012"] })
    error_message = "Step Functions may assume the role only for this account."
  }

  assert {
    condition     = aws_sfn_state_machine.machine.logging_configuration[0].log_destination == "${aws_cloudwatch_log_group.machine.arn}:*" && startswith(aws_cloudwatch_log_group.machine.name, "/aws/vendedlogs/")
    error_message = "The machine must log to its own log group under /aws/vendedlogs/."
  }

  assert {
    condition     = !aws_sfn_state_machine.machine.logging_configuration[0].include_execution_data && aws_sfn_state_machine.machine.tracing_configuration[0].enabled
    error_message = "Every run must be traced, and execution data must not be logged."
  }
}
