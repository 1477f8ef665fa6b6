# Jobs as code, by service_name/job_name, with the fields of the API's PUT. `make apply STAGE=…` creates, changes and
# deletes these jobs. The API refuses to change or delete them.
#
#   "billing/nightly" = {
#     schedule          = "cron(0 2 * * ? *)"
#     invocation_type   = "http"
#     invocation_target = "https://billing.example/jobs/nightly"
#     payload           = jsonencode({ ledger = 7 })
#     overlap           = "queue_one"
#     ttl_seconds       = 300
#     owner             = "team-billing"
#   }

locals {
  jobs = {}
}
