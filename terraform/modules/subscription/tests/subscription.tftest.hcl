# A plan refuses invalid inputs with an explanation.

mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  name      = "billing"
  topic_arn = "arn:aws:sns:eu-central-1:123456789012:sjm-dev-events"
}

run "a_filter_lets_values_and_beginnings_pass" {
  command = plan

  variables {
    queue  = { arn = "arn:aws:sqs:eu-central-1:123456789012:mine", id = "https://sqs.example/mine" }
    filter = { service_name = ["billing"], job_name = ["*"], event = ["execution.failed", "job.*"] }
  }

  assert {
    condition     = jsondecode(aws_sns_topic_subscription.subscriber.filter_policy) == { service_name = ["billing"], job_name = [{ exists = true }], event = ["execution.failed", { prefix = "job." }] }
    error_message = "The filter policy must have values, beginnings and existence."
  }

  assert {
    condition     = aws_sns_topic_subscription.subscriber.protocol == "sqs" && aws_sns_topic_subscription.subscriber.raw_message_delivery
    error_message = "A queue must get messages without the envelope."
  }
}

run "no_endpoint" {
  command         = plan
  expect_failures = [var.queue]
}

run "two_endpoints" {
  command = plan

  variables {
    url          = "https://billing.example/events"
    mail_address = "ops@example.com"
  }

  expect_failures = [var.queue]
}

run "an_http_url" {
  command = plan

  variables {
    url = "http://billing.example/events"
  }

  expect_failures = [var.url]
}

run "no_mail_address" {
  command = plan

  variables {
    mail_address = "ops"
  }

  expect_failures = [var.mail_address]
}

run "mail_without_wrapping" {
  command = plan

  variables {
    mail_address         = "ops@example.com"
    raw_message_delivery = true
  }

  expect_failures = [var.raw_message_delivery]
}

run "a_filter_that_nothing_passes" {
  command = plan

  variables {
    mail_address = "ops@example.com"
    filter       = { event = [] }
  }

  expect_failures = [var.filter]
}

run "a_star_in_the_middle" {
  command = plan

  variables {
    mail_address = "ops@example.com"
    filter       = { event = ["*.failed"] }
  }

  expect_failures = [var.filter]
}

run "more_attributes_than_sns_takes" {
  command = plan

  variables {
    mail_address = "ops@example.com"
    filter       = { for n in range(6) : "attribute_${n}" => ["value"] }
  }

  expect_failures = [var.filter]
}

run "more_combinations_of_values_than_sns_takes" {
  command = plan

  variables {
    mail_address = "ops@example.com"
    filter       = { service_name = [for n in range(16) : "s${n}"], event = [for n in range(10) : "e${n}"] }
  }

  expect_failures = [var.filter]
}

run "as_many_combinations_of_values_as_sns_takes" {
  command = plan

  variables {
    mail_address = "ops@example.com"
    filter       = { service_name = [for n in range(15) : "s${n}"], event = [for n in range(10) : "e${n}"] }
  }
}

run "a_queue_that_is_fifo" {
  command = plan

  variables {
    queue = { arn = "arn:aws:sqs:eu-central-1:123456789012:mine.fifo", id = "https://sqs.example/mine.fifo" }
  }

  expect_failures = [var.queue]
}

run "a_url_that_is_none" {
  command = plan

  variables {
    url = "billing.example/events"
  }

  expect_failures = [var.url]
}

run "no_topic" {
  command = plan

  variables {
    mail_address = "ops@example.com"
    topic_arn    = "sjm-dev-events"
  }

  expect_failures = [var.topic_arn]
}
