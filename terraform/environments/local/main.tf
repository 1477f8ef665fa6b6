# A stage in an emulator on your machine. provider.tf has what depends on the version of the AWS provider.

locals {
  # The emulator's credentials, not secret.
  access_key = "test"
  secret_key = "test"
  region     = "us-east-1"

  version      = trimspace(file("${path.root}/../../version.txt"))
  packages_dir = coalesce(var.packages_dir, "${path.root}/../../../build/local")
}

# A topic of a service, which jobs of this stage may target.
resource "aws_sns_topic" "of_a_service" {
  name              = "sjm-${var.stage}-of-a-service"
  kms_master_key_id = "alias/aws/sns"
}

module "stage" {
  source = "../.."

  stage           = var.stage
  packages_dir    = local.packages_dir
  packages_bucket = local.packages_bucket

  runtime                  = local.runtime
  log_level                = var.log_level
  log_retention_days       = 1
  execution_retention_days = 7
  reconcile_schedule       = "rate(1 day)" # so that it runs only on request
  notification_topic_arns  = [aws_sns_topic.of_a_service.arn]
  api_url_format           = "${trimsuffix(var.endpoint, "/")}/_aws/execute-api/%s"
  require_tls              = false # the emulator uses plain http
  saved_queries            = false # the emulator cannot store them
  allow_loopback_targets   = true  # services run on this machine; jobs reach none of the networks that it is in
  allow_http_targets       = true
  reap_grace_seconds       = 5 # so that tests do not wait long

  jobs = var.jobs

  command_environment = {
    AWS_ENDPOINT_URL      = var.endpoint
    AWS_ACCESS_KEY_ID     = local.access_key
    AWS_SECRET_ACCESS_KEY = local.secret_key
  }
}
