# No plan may destroy or replace a table of this stage. To give the stage up, delete the two files
# protection*.tf of this folder first.
module "protection" {
  source = "../../modules/table_protection"

  table_arns = module.stage.table_arns
}
