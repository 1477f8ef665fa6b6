# Terraform refuses plans that destroy or replace a table of this stage. To give the stage up, first delete the two
# files protection*.tf in this folder.
module "protection" {
  source = "../../modules/table_protection"

  table_arns = module.stage.table_arns
}
