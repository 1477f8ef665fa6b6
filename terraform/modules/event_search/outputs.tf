output "workgroup_name" {
  description = "Name of the Athena workgroup with the saved queries."
  value       = aws_athena_workgroup.search.name
}

output "database_name" {
  description = "Name of the Glue database of the table events."
  value       = aws_glue_catalog_database.events.name
}

output "policy_arn" {
  description = "ARN of the IAM policy to attach to the roles that query."
  value       = aws_iam_policy.search.arn
}
