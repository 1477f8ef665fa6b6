data "aws_partition" "current" {}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

locals {
  # The only place that holds the version of the project. Each environment tags its resources with it.
  version = trimspace(file("${path.module}/version.txt"))

  prefix     = "${var.name}-${var.stage}"
  partition  = data.aws_partition.current.partition
  dns_suffix = data.aws_partition.current.dns_suffix
  region     = data.aws_region.current.id # `.name` is deprecated in 6.x, `.region` is unknown to 3.39
  account_id = data.aws_caller_identity.current.account_id
  place      = "${local.region}:${local.account_id}"

  function_arn_prefix = "arn:${local.partition}:lambda:${local.place}:function"

  # These ARNs are built from names to avoid dependency cycles: a machine invokes the functions that start or answer
  # it, and one function invokes itself. Nothing uses the ARNs before the routes exist, and the routes wait for all.
  run_job_name          = "${local.prefix}-run-job"
  run_job_arn           = "arn:${local.partition}:states:${local.place}:stateMachine:${local.run_job_name}"
  run_job_express_name  = "${local.prefix}-run-job-express"
  run_job_express_arn   = "arn:${local.partition}:states:${local.place}:stateMachine:${local.run_job_express_name}"
  update_job_name       = "${local.prefix}-update-job"
  update_job_arn        = "arn:${local.partition}:states:${local.place}:stateMachine:${local.update_job_name}"
  start_due_arn         = "${local.function_arn_prefix}:${local.prefix}-start-due-executions"
  pause_failing_job_arn = "${local.function_arn_prefix}:${local.prefix}-pause-failing-job"
  start_waiting_arn     = "${local.function_arn_prefix}:${local.prefix}-start-waiting-executions"
  start_children_arn    = "${local.function_arn_prefix}:${local.prefix}-start-children"
  # The pattern of the rules of jobs. The names of Terraform's own rules do not match it.
  schedule_rule_arn = "arn:${local.partition}:events:${local.place}:rule/${local.prefix}-schedule-*"
  # The same of the schedules of EventBridge Scheduler, in the default group.
  scheduler_schedule_arn = "arn:${local.partition}:scheduler:${local.place}:schedule/default/${local.prefix}-schedule-*"

  # The values of kms:ViaService: a function may use the key only through that service.
  # https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
  via = { for service in ["sns", "sqs"] : service => "${service}.${local.region}.${local.dns_suffix}" }

  # The form of an EventBridge expression, for the validation of variables.
  schedule_pattern = "^(rate\\((1 (minute|hour|day)|([2-9]|[1-9][0-9]+) (minutes|hours|days))\\)|cron\\([^ ()]+( [^ ()]+){5}\\))$"

  # Functions of every stage write their metrics here. The dimension `stage` distinguishes the stages.
  metrics_namespace = "ServerlessJobManager"

  # Settings that every function shares.
  function_defaults = {
    prefix              = local.prefix
    arn_prefix          = local.function_arn_prefix
    stage               = var.stage
    packages_dir        = var.packages_dir
    packages_bucket     = var.packages_bucket
    runtime             = var.runtime
    memory_size         = var.memory_size
    log_level           = var.log_level
    log_retention_days  = var.log_retention_days
    kms_key_arn         = aws_kms_key.stage.arn
    metrics_namespace   = local.metrics_namespace
    metrics_by_stage    = var.metrics_by_stage
    metrics_by_service  = var.metrics_by_service
    metrics_by_job      = var.metrics_by_job
    metrics_by_function = var.metrics_by_function
    memory_alarm_pct    = var.alarm_thresholds.memory_pct
  }

  # The targets of triggers, for the functions that make and remove triggers at run time.
  triggers_environment = {
    TRIGGER_TYPE               = var.trigger_type
    START_DUE_EXECUTIONS_ARN   = local.start_due_arn
    TICK_DEAD_LETTER_QUEUE_ARN = module.tick_dead_letters.arn
    SCHEDULER_ROLE_ARN         = aws_iam_role.scheduler.arn
  }

  # For the functions that change a job themselves, without the update-job machine.
  changes_environment = {
    JOBS_TABLE       = aws_dynamodb_table.jobs.name
    SCHEDULES_TABLE  = aws_dynamodb_table.schedules.name
    EVENTS_TOPIC_ARN = aws_sns_topic.events.arn
  }

  # For the functions that settle executions: the functions that they invoke.
  settling_environment = {
    PAUSE_FAILING_JOB_ARN = local.pause_failing_job_arn
    START_CHILDREN_ARN    = local.start_children_arn
  }

  # For the functions that let executions wait, or end their wait.
  waiting_environment = {
    LIMITS_TABLE                 = aws_dynamodb_table.limits.name
    START_WAITING_EXECUTIONS_ARN = local.start_waiting_arn
  }

  # Which addresses webhooks may reach; see jobmanager.targets.target.
  targets_environment = {
    ALLOW_PRIVATE_TARGETS  = tostring(var.allow_private_targets)
    ALLOW_LOOPBACK_TARGETS = tostring(var.allow_loopback_targets)
    ALLOW_HTTP_TARGETS     = tostring(var.allow_http_targets)
  }

  # The VPC from which functions call webhooks. validate_job also resolves names there, because they may differ.
  targets_network = length(var.subnet_ids) == 0 ? null : {
    subnet_ids         = var.subnet_ids
    security_group_ids = var.security_group_ids
  }

  # The secrets that sign webhooks.
  signing_environment = {
    SERVICES_TABLE  = aws_dynamodb_table.services.name
    SECRETS_KEY_ARN = aws_kms_key.stage.arn
  }

  # For the function that begins an execution, notifies its service, and settles what ends at once.
  run_execution_environment = {
    JOBS_TABLE        = aws_dynamodb_table.jobs.name
    EXECUTIONS_TABLE  = aws_dynamodb_table.executions.name
    SCHEDULES_TABLE   = aws_dynamodb_table.schedules.name
    EVENTS_TOPIC_ARN  = aws_sns_topic.events.arn
    CALLBACK_BASE_URL = "${local.api_url}/callback"
    RETENTION_DAYS    = tostring(var.execution_retention_days)
  }

  index_shards_to_read = max(var.index_shards, var.former_index_shards)

  # For the functions that insert records, and for those that look for them in indexes.
  shards_environment = {
    INDEX_SHARDS = tostring(var.index_shards)
  }
  shards_to_read_environment = {
    INDEX_SHARDS_TO_READ = tostring(local.index_shards_to_read)
  }

  # How long it takes at most until the sweep has acted on a deadline: the grace, the time until the sweep comes, and two
  # minutes to work. For that long, functions hold the lock of an Express execution.
  reap_rate = try(regex("^rate\\((\\d+) (minute|hour|day)s?\\)$", var.reap_schedule), ["1", "minute"])
  seconds_to_sweep = (
    var.reap_grace_seconds + tonumber(local.reap_rate[0]) * { minute = 60, hour = 3600, day = 86400 }[local.reap_rate[1]] + 120
  )
  sweep_environment = {
    SECONDS_TO_SWEEP = tostring(local.seconds_to_sweep)
  }

  # For the functions that start executions.
  machines_environment = {
    STATE_MACHINE_ARN         = local.run_job_arn
    EXPRESS_STATE_MACHINE_ARN = local.run_job_express_arn
  }

  # The topics that jobs may target.
  notification_topic_arns = concat([aws_sns_topic.notifications.arn], var.notification_topic_arns)

  functions = merge({
    backfill_job             = module.backfill_job
    begin_execution          = module.begin_execution
    cancel_execution         = module.cancel_execution
    cancel_executions        = module.cancel_executions
    create_webhook_secret    = module.create_webhook_secret
    delete_job               = module.delete_job
    delete_limit             = module.delete_limit
    delete_webhook_secret    = module.delete_webhook_secret
    finish_execution         = module.finish_execution
    get_chain                = module.get_chain
    get_execution            = module.get_execution
    get_job                  = module.get_job
    get_limit                = module.get_limit
    get_openapi              = module.get_openapi
    list_executions          = module.list_executions
    list_jobs                = module.list_jobs
    list_limits              = module.list_limits
    list_schedules           = module.list_schedules
    list_webhook_secrets     = module.list_webhook_secrets
    manage_job               = module.manage_job
    notify_service           = module.notify_service
    pause_failing_job        = module.pause_failing_job
    pause_job                = module.pause_job
    preview_schedule         = module.preview_schedule
    put_job                  = module.put_job
    put_limit                = module.put_limit
    put_schedule             = module.put_schedule
    reap_executions          = module.reap_executions
    receive_callback         = module.receive_callback
    reconcile_schedules      = module.reconcile_schedules
    release_schedule         = module.release_schedule
    rerun_execution          = module.rerun_execution
    rerun_executions         = module.rerun_executions
    resume_job               = module.resume_job
    run_execution            = module.run_execution
    save_job                 = module.save_job
    start_children           = module.start_children
    start_due_executions     = module.start_due_executions
    start_execution          = module.start_execution
    start_waiting_executions = module.start_waiting_executions
    test_job                 = module.test_job
    test_target              = module.test_target
    validate_job             = module.validate_job
  }, { for function in module.start_spread_executions : "start_spread_executions" => function })
}
