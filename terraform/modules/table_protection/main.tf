# A plan that would destroy a table, or replace it, is refused: what stands for the table here would go first, or be
# replaced with it, and may not. `prevent_destroy` takes no variable, and is not asked where the whole block is
# gone; so the protection of a stage is a module of its own, which a stage has or has not.
# https://developer.hashicorp.com/terraform/language/meta-arguments/lifecycle#prevent_destroy

# Terraform shows the next line with its refusal.
resource "terraform_data" "table" { # To give this stage up, first delete the files protection*.tf in its folder.
  for_each = var.table_arns

  # Not known in a plan that replaces the table.
  triggers_replace = each.value

  lifecycle {
    prevent_destroy = true
  }
}
