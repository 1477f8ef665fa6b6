output "arn" {
  description = "ARN of the state machine."
  value       = aws_sfn_state_machine.machine.arn
}

output "name" {
  description = "Name of the state machine."
  value       = aws_sfn_state_machine.machine.name
}

output "log_group_name" {
  description = "Name of the machine's log group."
  value       = aws_cloudwatch_log_group.machine.name
}

output "role_name" {
  description = "Name of the machine's role."
  value       = aws_iam_role.machine.name
}
