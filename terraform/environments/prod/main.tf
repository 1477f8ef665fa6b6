# One stage, with the name of this folder. terraform/variables.tf lists all inputs.

module "stage" {
  source = "../.."

  stage           = local.stage
  packages_dir    = local.packages_dir
  jobs            = local.jobs
  jobs_managed_in = local.jobs_managed_in

  memory_size              = 512 # more CPU: cold starts take half as long as with 256, at no extra cost
  log_level                = "INFO"
  log_retention_days       = 90
  execution_retention_days = 365
}
