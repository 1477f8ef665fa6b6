# While this policy exists, AWS lets nobody delete a table, not even in the console or on the command line. It replaces
# the deletion protection of the tables themselves, which the provider of the local stage does not support.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/rbac-iam-actions.html

data "aws_iam_policy_document" "table" {
  for_each = module.stage.table_arns

  statement {
    sid       = "RefuseToDeleteTheTable"
    effect    = "Deny"
    actions   = ["dynamodb:DeleteTable"]
    resources = [each.value]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }
}

resource "aws_dynamodb_resource_policy" "table" {
  for_each = module.stage.table_arns

  resource_arn = each.value
  policy       = data.aws_iam_policy_document.table[each.key].json
}
