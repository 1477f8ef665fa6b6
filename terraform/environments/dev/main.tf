# One stage, named as this folder. What else it may be told: terraform/variables.tf.

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
