# A plan refuses wrong jobs. The stage and the module jobs pass theirs on to this module.

run "it_refuses_a_key_without_a_slash" {
  command = plan

  variables {
    jobs = { "no-slash" = { schedule = "rate(1 day)", invocation_type = "sns" } }
  }

  expect_failures = [var.jobs]
}

run "it_refuses_a_service_whose_jobs_may_be_taken_for_another_ones" {
  command = plan

  variables {
    jobs = { "a--b/c" = { schedule = "rate(1 day)", invocation_type = "sns" } }
  }

  expect_failures = [var.jobs]
}

run "it_refuses_names_that_clients_remove_from_a_path" {
  command = plan

  variables {
    jobs = { "billing/.." = { schedule = "rate(1 day)", invocation_type = "sns" } }
  }

  expect_failures = [var.jobs]
}

run "it_refuses_a_job_that_is_notified_in_no_known_way" {
  command = plan

  variables {
    jobs = { "a/b" = { schedule = "rate(1 day)", invocation_type = "mail" } }
  }

  expect_failures = [var.jobs]
}

run "it_refuses_a_job_over_http_without_a_target" {
  command = plan

  variables {
    jobs = { "a/b" = { schedule = "rate(1 day)", invocation_type = "http" } }
  }

  expect_failures = [var.jobs]
}

run "it_refuses_a_job_that_leaves_no_time_to_answer" {
  command = plan

  variables {
    jobs = { "a/b" = { schedule = "rate(1 day)", invocation_type = "sns", ttl_seconds = 9 } }
  }

  expect_failures = [var.jobs]
}

run "it_refuses_a_field_that_no_job_has" {
  command = plan

  variables {
    jobs = { "a/b" = { schedule = "rate(1 day)", invocation_type = "sns", excluisve = true }, "c/d" = { schedule = "rate(1 day)", invocation_type = "sns" } }
  }

  expect_failures = [var.jobs]
}

run "it_refuses_a_field_that_no_retry_has" {
  command = plan

  variables {
    jobs = { "a/b" = { schedule = "rate(1 day)", invocation_type = "sns", retry = { max_attempts = 2, backof_rate = 3 } } }
  }

  expect_failures = [var.jobs]
}

run "it_refuses_a_job_without_a_schedule" {
  command = plan

  variables {
    jobs = { "a/b" = { invocation_type = "sns" } }
  }

  expect_failures = [var.jobs]
}

run "it_refuses_a_job_that_is_no_object" {
  command = plan

  variables {
    jobs = { "a/b" = "rate(1 day)" }
  }

  expect_failures = [var.jobs]
}

run "it_refuses_a_job_that_may_be_silent_for_too_long" {
  command = plan

  variables {
    jobs = { "a/b" = { schedule = "rate(1 day)", invocation_type = "sns", ttl_seconds = 43201 } }
  }

  expect_failures = [var.jobs]
}

run "it_refuses_a_start_without_an_offset" {
  command = plan

  variables {
    jobs = { "a/b" = { schedule = "rate(1 day)", invocation_type = "sns", start_at = "2026-12-24T18:00:00" } }
  }

  expect_failures = [var.jobs]
}

run "it_refuses_an_end_that_is_no_time" {
  command = plan

  variables {
    jobs = { "a/b" = { schedule = "rate(1 day)", invocation_type = "sns", end_at = "Christmas" } }
  }

  expect_failures = [var.jobs]
}

run "a_job_may_run_once_in_a_time_zone_and_within_bounds" {
  command = plan

  variables {
    jobs = {
      "a/b" = { schedule = "at(2026-12-24T18:00:00)", invocation_type = "sns", time_zone = "Europe/Berlin" }
      "c/d" = { schedule = "rate(1 day)", invocation_type = "sns", start_at = "2026-12-24T19:00:00+01:00", end_at = null }
    }
  }

  assert {
    condition     = jsondecode(output.bodies["a/b"]) == { schedule = "at(2026-12-24T18:00:00)", invocation_type = "sns", time_zone = "Europe/Berlin" }
    error_message = "A body must have the time zone."
  }

  assert {
    condition     = jsondecode(output.bodies["c/d"]) == { schedule = "rate(1 day)", invocation_type = "sns", start_at = "2026-12-24T19:00:00+01:00" }
    error_message = "A body must have the bounds that the job has."
  }
}

run "a_body_has_the_types_of_the_api_and_not_what_is_left_out" {
  command = plan

  variables {
    jobs = {
      "a/b" = { schedule = "rate(1 day)", invocation_type = "sns", ttl_seconds = "60", owner = null, retry = { max_attempts = 2, on = null } }
    }
  }

  assert {
    condition     = jsondecode(output.bodies["a/b"]) == { schedule = "rate(1 day)", invocation_type = "sns", ttl_seconds = 60, retry = { max_attempts = 2 } }
    error_message = "A body must be the JSON for the API."
  }
}
