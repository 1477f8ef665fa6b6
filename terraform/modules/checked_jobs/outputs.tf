output "bodies" {
  description = "The body of the API's PUT for each job, as JSON, without the fields that are left out."
  value = {
    for key, job in module.typed_jobs.jobs : key => jsonencode(merge(
      { for name, value in job : name => value if value != null && !contains(["retry", "after"], name) },
      { for name, retry in { retry = job.retry } : name => { for option, value in retry : option => value if value != null } if retry != null },
      { for name, after in { after = job.after } : name => [for parent in after : { for option, value in parent : option => value if value != null }] if after != null },
    ))
  }
}
