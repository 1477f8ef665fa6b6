# One execution of one job. It is a Standard machine, because it waits for callbacks, if need be for days.
module "run_job" {
  source = "./modules/state_machine"

  name            = local.run_job_name
  type            = "STANDARD"
  definition_file = "${path.module}/../statemachine.asl.json"

  functions = {
    run_execution    = module.run_execution.arn
    finish_execution = module.finish_execution.arn
  }

  former_functions = {
    begin_execution = module.begin_execution.arn
    notify_service  = module.notify_service.arn
  }

  log_retention_days = var.log_retention_days
  kms_key_arn        = aws_kms_key.stage.arn
}

# One execution of one job with workflow_type express. It ends when the service was notified, so it waits for nothing.
module "run_job_express" {
  source = "./modules/state_machine"

  name            = local.run_job_express_name
  type            = "EXPRESS"
  definition_file = "${path.module}/../statemachine.express.asl.json"

  functions = {
    run_execution    = module.run_execution.arn
    finish_execution = module.finish_execution.arn
  }

  log_retention_days = var.log_retention_days
  kms_key_arn        = aws_kms_key.stage.arn
}

# One change of one job. It is an Express machine, because put_job runs it synchronously.
module "update_job" {
  source = "./modules/state_machine"

  name            = local.update_job_name
  type            = "EXPRESS"
  definition_file = "${path.module}/../statemachine.update-job.asl.json"

  functions = {
    validate_job     = module.validate_job.arn
    test_target      = module.test_target.arn
    put_schedule     = module.put_schedule.arn
    save_job         = module.save_job.arn
    release_schedule = module.release_schedule.arn
  }

  log_retention_days = var.log_retention_days
  kms_key_arn        = aws_kms_key.stage.arn
}
