# Nor does AWS let anybody delete a table, be it by Terraform, the console or the command line, before this is gone.
# It does what the tables' own deletion protection does, which the provider of the local stage does not know.
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
