output "arn" {
  description = "ARN of the Lambda function."
  value       = aws_lambda_function.function.arn
}

output "function_name" {
  description = "Name of the Lambda function."
  value       = aws_lambda_function.function.function_name
}

output "invoke_arn" {
  description = "ARN with which API Gateway invokes the function."
  value       = aws_lambda_function.function.invoke_arn
}

output "timeout" {
  description = "Seconds after which Lambda ends an invocation. Callers derive their own timeouts from it."
  value       = aws_lambda_function.function.timeout
}

output "log_group_name" {
  description = "Name of the function's log group."
  value       = aws_cloudwatch_log_group.function.name
}
