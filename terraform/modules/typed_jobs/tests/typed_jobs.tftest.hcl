# Jobs get the types of the API's fields.

run "strings_become_numbers_and_what_is_left_out_becomes_null" {
  command = plan

  variables {
    jobs = {
      "a/b" = { schedule = "rate(1 day)", invocation_type = "sns", ttl_seconds = "60", exclusive = "true", payload = 5 }
      "c/d" = { schedule = "rate(1 day)", invocation_type = "sns", owner = null, retry = { max_attempts = "3" } }
    }
  }

  assert {
    condition     = output.jobs["a/b"].ttl_seconds == 60 && output.jobs["a/b"].exclusive == true && output.jobs["a/b"].payload == "5"
    error_message = "Each value must have its field's type."
  }

  assert {
    condition     = output.jobs["c/d"].retry.max_attempts == 3 && output.jobs["c/d"].owner == null && output.jobs["c/d"].ttl_seconds == null
    error_message = "What is left out must be null."
  }
}
