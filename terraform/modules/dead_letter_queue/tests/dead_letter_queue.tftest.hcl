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
  target = aws_sqs_queue.queue
  values = {
    arn = "arn:aws:sqs:eu-central-1:123456789012:sjm-test-dead-letters"
    id  = "https://sqs.eu-central-1.amazonaws.com/123456789012/sjm-test-dead-letters"
  }
}

override_resource {
  target = aws_sqs_queue_policy.queue
}

variables {
  name        = "sjm-test-dead-letters"
  rule_arns   = ["arn:aws:events:eu-central-1:123456789012:rule/sjm-test-schedule-*"]
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/01234567-0123-0123-0123-0123456789ab"
}

run "with_tls" {
  variables {
    require_tls = true
  }

  assert {
    condition     = aws_sqs_queue_policy.queue.queue_url == aws_sqs_queue.queue.id
    error_message = "The policy must be the queue's."
  }

  assert {
    condition     = jsonencode(jsondecode(aws_sqs_queue_policy.queue.policy).Statement[0].Condition) == jsonencode({ ArnLike = { "aws:SourceArn" = var.rule_arns } })
    error_message = "Only its rules may send."
  }

  assert {
    condition     = [for statement in jsondecode(aws_sqs_queue_policy.queue.policy).Statement : statement.Effect] == ["Allow", "Deny"]
    error_message = "Calls without TLS must be refused."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(aws_sqs_queue_policy.queue.policy).Statement : statement.Resource == aws_sqs_queue.queue.arn])
    error_message = "The policy must apply only to its queue."
  }

  assert {
    condition     = aws_sqs_queue.queue.message_retention_seconds == 1209600 && aws_sqs_queue.queue.kms_master_key_id == var.kms_key_arn
    error_message = "Dead letters must be kept for 14 days, encrypted."
  }
}

run "without_tls" {
  variables {
    require_tls = false
  }

  assert {
    condition     = [for statement in jsondecode(aws_sqs_queue_policy.queue.policy).Statement : statement.Effect] == ["Allow"]
    error_message = "Calls without TLS must be allowed."
  }
}
