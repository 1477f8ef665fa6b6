# One stage, named as this folder. What else it may be told: terraform/variables.tf.

module "stage" {
  source = "../.."

  stage           = local.stage
  packages_dir    = local.packages_dir
  jobs            = local.jobs
  jobs_managed_in = local.jobs_managed_in

  memory_size              = 512 # CPU comes with it: cold starts take half as long as with 256, at no more cost
  log_level                = "INFO"
  log_retention_days       = 90
  execution_retention_days = 365
}
