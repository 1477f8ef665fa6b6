# Terraform refuses a plan that would destroy or replace a table, because the terraform_data below would be destroyed or
# replaced with it and prevent_destroy forbids that. prevent_destroy takes no variable, and Terraform ignores it when
# the whole block is removed. Therefore a stage is protected if it calls this module.
# https://developer.hashicorp.com/terraform/language/meta-arguments/lifecycle#prevent_destroy

# Terraform prints the next line with its error.
resource "terraform_data" "table" { # To give this stage up, first delete the files protection*.tf in its folder.
  for_each = var.table_arns

  # The ARN is unknown in a plan that replaces the table, which then replaces this too.
  triggers_replace = each.value

  lifecycle {
    prevent_destroy = true
  }
}
