variable "table_arns" {
  description = "ARNs of the tables to protect, by name."
  type        = map(string)

  validation {
    condition     = alltrue([for arn in values(var.table_arns) : can(regex("^arn:[a-z-]+:dynamodb:[a-z0-9-]+:[0-9]{12}:table/", arn))])
    error_message = "Each of table_arns must be the ARN of a DynamoDB table."
  }
}
