# Jobs as code, for the stage and for the module jobs: a plan refuses what it can, in the API's words.

module "typed_jobs" {
  source = "../typed_jobs"

  jobs = var.jobs
}

locals {
  # The fields of the API's PUT, in its order. The variable jobs refuses others.
  required_job_fields = ["invocation_type"]
  start_fields        = ["schedule", "after"] # a job has one of them
  job_fields = [
    "schedule",
    "after",
    "time_zone",
    "start_at",
    "end_at",
    "invocation_type",
    "invocation_target",
    "payload",
    "async",
    "test_invocation",
    "enabled",
    "exclusive",
    "overlap",
    "ttl_seconds",
    "heartbeat_interval_seconds",
    "alert_after_failures",
    "pause_after_failures",
    "warn_after_seconds",
    "max_duration_seconds",
    "retry",
    "catch_up",
    "catch_up_window_seconds",
    "spread_seconds",
    "limit",
    "workflow_type",
    "starting_deadline_seconds",
    "description",
    "owner",
    "tags",
  ]
  bound_fields = ["start_at", "end_at"]
  retry_fields = ["max_attempts", "interval_seconds", "backoff_rate", "on"]
}
