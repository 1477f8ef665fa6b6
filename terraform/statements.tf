# The IAM statements that several functions need, each once and by name. A function's own policy stands beside the
# function and combines these with `source_policy_documents`.
#
# A policy must not allow an action twice on the same resource: see tests/grants.py.

# Jobs. The lock is part of its job.

data "aws_iam_policy_document" "read_jobs" {
  statement {
    sid       = "ReadJobs"
    actions   = ["dynamodb:GetItem"]
    resources = [aws_dynamodb_table.jobs.arn]
  }
}

data "aws_iam_policy_document" "read_many_jobs" {
  statement {
    sid       = "ReadManyJobs"
    actions   = ["dynamodb:BatchGetItem"]
    resources = [aws_dynamodb_table.jobs.arn]
  }
}

data "aws_iam_policy_document" "find_due_jobs" {
  statement {
    sid       = "FindDueJobs"
    actions   = ["dynamodb:Query"]
    resources = ["${aws_dynamodb_table.jobs.arn}/index/due"]
  }
}

data "aws_iam_policy_document" "update_jobs" {
  statement {
    sid       = "UpdateJobs"
    actions   = ["dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.jobs.arn]
  }
}

# Executions

data "aws_iam_policy_document" "read_executions" {
  statement {
    sid       = "ReadExecutions"
    actions   = ["dynamodb:GetItem"]
    resources = [aws_dynamodb_table.executions.arn]
  }
}

data "aws_iam_policy_document" "read_many_executions" {
  statement {
    sid       = "ReadManyExecutions"
    actions   = ["dynamodb:BatchGetItem"]
    resources = [aws_dynamodb_table.executions.arn]
  }
}

data "aws_iam_policy_document" "insert_executions" {
  statement {
    sid       = "InsertExecutions"
    actions   = ["dynamodb:PutItem"]
    resources = [aws_dynamodb_table.executions.arn]
  }
}

data "aws_iam_policy_document" "update_executions" {
  statement {
    sid       = "UpdateExecutions"
    actions   = ["dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.executions.arn]
  }
}

data "aws_iam_policy_document" "search_executions" {
  statement {
    sid       = "ListExecutions"
    actions   = ["dynamodb:BatchGetItem", "dynamodb:Query"]
    resources = [aws_dynamodb_table.executions.arn]
  }

  statement {
    sid     = "FindExecutions"
    actions = ["dynamodb:Query"]
    resources = [
      "${aws_dynamodb_table.executions.arn}/index/by_day",
      "${aws_dynamodb_table.executions.arn}/index/by_service",
      "${aws_dynamodb_table.executions.arn}/index/late",
    ]
  }
}

data "aws_iam_policy_document" "query_executions" {
  statement {
    sid       = "QueryExecutions"
    actions   = ["dynamodb:Query"]
    resources = [aws_dynamodb_table.executions.arn]
  }
}

data "aws_iam_policy_document" "find_open_executions" {
  statement {
    sid       = "FindOpenExecutions"
    actions   = ["dynamodb:Query"]
    resources = ["${aws_dynamodb_table.executions.arn}/index/open", "${aws_dynamodb_table.executions.arn}/index/sweep"]
  }
}

# Schedules, with the number of jobs that share each

data "aws_iam_policy_document" "read_schedules" {
  statement {
    sid       = "ReadSchedules"
    actions   = ["dynamodb:GetItem"]
    resources = [aws_dynamodb_table.schedules.arn]
  }
}

data "aws_iam_policy_document" "query_schedules" {
  statement {
    sid       = "QuerySchedules"
    actions   = ["dynamodb:Query"]
    resources = [aws_dynamodb_table.schedules.arn]
  }
}

data "aws_iam_policy_document" "update_schedules" {
  statement {
    sid       = "UpdateSchedules"
    actions   = ["dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.schedules.arn]
  }
}

data "aws_iam_policy_document" "delete_schedules" {
  statement {
    sid       = "DeleteSchedules"
    actions   = ["dynamodb:DeleteItem"]
    resources = [aws_dynamodb_table.schedules.arn]
  }
}

# Limits, with the executions that hold their slots

data "aws_iam_policy_document" "read_limits" {
  statement {
    sid       = "ReadLimits"
    actions   = ["dynamodb:GetItem"]
    resources = [aws_dynamodb_table.limits.arn]
  }
}

data "aws_iam_policy_document" "update_limits" {
  statement {
    sid       = "UpdateLimits"
    actions   = ["dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.limits.arn]
  }
}

data "aws_iam_policy_document" "query_limits" {
  statement {
    sid       = "QueryLimits"
    actions   = ["dynamodb:Query"]
    resources = [aws_dynamodb_table.limits.arn]
  }
}

# Services, with their webhook secrets

data "aws_iam_policy_document" "read_webhook_secrets" {
  statement {
    sid       = "ReadWebhookSecrets"
    actions   = ["dynamodb:GetItem"]
    resources = [aws_dynamodb_table.services.arn]
  }
}

data "aws_iam_policy_document" "update_webhook_secrets" {
  statement {
    sid       = "UpdateWebhookSecrets"
    actions   = ["dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.services.arn]
  }
}

# The triggers of schedules: EventBridge rules, and schedules of EventBridge Scheduler with the role that they take

data "aws_iam_policy_document" "make_schedule_triggers" {
  statement {
    sid = "MakeScheduleRules"
    actions = [
      "events:DescribeRule",
      "events:ListTargetsByRule",
      "events:PutRule",
      "events:PutTargets",
      "events:TagResource",
    ]
    resources = [local.schedule_rule_arn]
  }

  statement {
    sid       = "MakeSchedulerSchedules"
    actions   = ["scheduler:CreateSchedule", "scheduler:GetSchedule", "scheduler:UpdateSchedule"]
    resources = [local.scheduler_schedule_arn]
  }

  # https://docs.aws.amazon.com/scheduler/latest/UserGuide/setting-up.html#setting-up-execution-role
  statement {
    sid       = "GiveSchedulesTheirRole"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.scheduler.arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["scheduler.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "remove_schedule_triggers" {
  statement {
    sid       = "RemoveScheduleRules"
    actions   = ["events:DeleteRule", "events:RemoveTargets"]
    resources = [local.schedule_rule_arn]
  }

  statement {
    sid       = "RemoveSchedulerSchedules"
    actions   = ["scheduler:DeleteSchedule"]
    resources = [local.scheduler_schedule_arn]
  }
}

# Executions that wait

# Functions that end executions also free their slots, and have those started that wait for a slot or for the lock.
data "aws_iam_policy_document" "let_others_start" {
  source_policy_documents = [
    data.aws_iam_policy_document.update_limits.json,
    data.aws_iam_policy_document.have_waiting_executions_started.json,
  ]
}

data "aws_iam_policy_document" "end_waiting_executions" {
  source_policy_documents = [data.aws_iam_policy_document.read_limits.json]

  statement {
    sid       = "LeaveQueuesOfWaitingExecutions"
    actions   = ["dynamodb:DeleteItem"]
    resources = [aws_dynamodb_table.executions.arn]
  }
}

# Functions that let an execution begin take a slot for it, or have it started later.
data "aws_iam_policy_document" "admit_executions" {
  source_policy_documents = [
    data.aws_iam_policy_document.read_limits.json,
    data.aws_iam_policy_document.let_others_start.json,
    data.aws_iam_policy_document.delay_spread_starts.json,
    data.aws_iam_policy_document.encrypt_for_queues.json,
  ]
}

# The state machines, and functions that others invoke

data "aws_iam_policy_document" "start_run_job" {
  statement {
    sid       = "StartTheRunJobMachines"
    actions   = ["states:StartExecution"]
    resources = [local.run_job_arn, local.run_job_express_arn]
  }
}

data "aws_iam_policy_document" "stop_run_job" {
  statement {
    sid       = "StopExecutionsOfTheRunJobMachine"
    actions   = ["states:StopExecution"]
    resources = ["${replace(local.run_job_arn, ":stateMachine:", ":execution:")}:*"]
  }
}

# The service authorization reference lists no resource type for the SendTask actions. AWS still checks them against
# the state machine whose task issued the token: https://github.com/aws/aws-cdk/pull/8486

data "aws_iam_policy_document" "answer_tasks" {
  statement {
    sid       = "AnswerWaitingExecutions"
    actions   = ["states:SendTaskFailure", "states:SendTaskHeartbeat", "states:SendTaskSuccess"]
    resources = [local.run_job_arn]
  }
}

data "aws_iam_policy_document" "fail_tasks" {
  statement {
    sid       = "FailTasksOfWaitingExecutions"
    actions   = ["states:SendTaskFailure"]
    resources = [local.run_job_arn]
  }
}

data "aws_iam_policy_document" "run_update_job" {
  statement {
    sid       = "RunTheUpdateJobMachine"
    actions   = ["states:StartSyncExecution"]
    resources = [local.update_job_arn]
  }
}

data "aws_iam_policy_document" "invoke_start_due_executions" {
  statement {
    sid       = "InvokeStartDueExecutions"
    actions   = ["lambda:InvokeFunction"]
    resources = [local.start_due_arn]
  }
}

data "aws_iam_policy_document" "have_jobs_paused" {
  statement {
    sid       = "HaveFailingJobsPaused"
    actions   = ["lambda:InvokeFunction"]
    resources = [local.pause_failing_job_arn]
  }
}

data "aws_iam_policy_document" "have_waiting_executions_started" {
  statement {
    sid       = "HaveWaitingExecutionsStarted"
    actions   = ["lambda:InvokeFunction"]
    resources = [local.start_waiting_arn]
  }
}

data "aws_iam_policy_document" "have_children_started" {
  statement {
    sid       = "HaveChildrenStarted"
    actions   = ["lambda:InvokeFunction"]
    resources = [local.start_children_arn]
  }
}

# Topics and queues, and the key for them. SNS and SQS use the key in the name of the function that publishes or
# sends. The condition lets them do so, and does not let the function use the key itself.
# https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service

data "aws_iam_policy_document" "publish_events" {
  statement {
    sid       = "PublishEvents"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.events.arn]
  }
}

data "aws_iam_policy_document" "publish_notifications" {
  statement {
    sid       = "PublishNotifications"
    actions   = ["sns:Publish"]
    resources = local.notification_topic_arns
  }
}

data "aws_iam_policy_document" "encrypt_for_topics" {
  statement {
    sid       = "EncryptForTopics"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = [aws_kms_key.stage.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [local.via.sns]
    }
  }
}

data "aws_iam_policy_document" "delay_spread_starts" {
  statement {
    sid       = "DelaySpreadStarts"
    actions   = ["sqs:SendMessage"]
    resources = [local.spread_queue_arn]
  }
}

# Lambda sends a run that failed every retry in the function's name.
data "aws_iam_policy_document" "keep_failed_upkeep" {
  statement {
    sid       = "KeepUpkeepThatFailed"
    actions   = ["sqs:SendMessage"]
    resources = [module.upkeep_dead_letters.arn]
  }
}

data "aws_iam_policy_document" "encrypt_for_queues" {
  statement {
    sid       = "EncryptForQueues"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = [aws_kms_key.stage.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [local.via.sqs]
    }
  }
}

# What functions encrypt themselves. KMS binds the encryption context to the ciphertext, and IAM compares the context
# with the policy: https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-encryption-context

data "aws_iam_policy_document" "seal_page_tokens" {
  statement {
    sid       = "SealPageTokens"
    actions   = ["kms:Decrypt", "kms:Encrypt"]
    resources = [aws_kms_key.stage.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:purpose"
      values   = ["paging"]
    }
  }
}

data "aws_iam_policy_document" "decrypt_webhook_secrets" {
  statement {
    sid       = "DecryptWebhookSecrets"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.stage.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:purpose"
      values   = ["webhook-secret"]
    }
  }
}
