output "workgroup_name" {
  description = "Athena workgroup to ask in, with its saved queries."
  value       = aws_athena_workgroup.search.name
}

output "database_name" {
  description = "Glue database of the table events."
  value       = aws_glue_catalog_database.events.name
}

output "policy_arn" {
  description = "IAM policy for whoever asks: attach it to a role."
  value       = aws_iam_policy.search.arn
}
