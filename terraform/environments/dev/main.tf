# One stage, with the name of this folder. terraform/variables.tf lists all inputs.

module "stage" {
  source = "../.."

  stage           = local.stage
  packages_dir    = local.packages_dir
  jobs            = local.jobs
  jobs_managed_in = local.jobs_managed_in

  log_level                = "DEBUG"
  log_retention_days       = 14
  execution_retention_days = 30
}
