# Jobs as code: by service_name/job_name, each as a PUT of the API takes it. `make apply STAGE=…` creates, changes
# and deletes them; the API refuses to.
#
#   "billing/nightly" = {
#     schedule          = "cron(0 2 * * ? *)"
#     invocation_type   = "http"
#     invocation_target = "https://billing.example/jobs/nightly"
#     payload           = jsonencode({ ledger = 7 })
#     exclusive         = true
#     ttl_seconds       = 300
#     owner             = "team-billing"
#   }

locals {
  jobs = {}
}
