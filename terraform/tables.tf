resource "aws_dynamodb_table" "jobs" {
  name         = "${local.prefix}-jobs"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "service_name"
  range_key    = "job_name"

  attribute {
    name = "service_name"
    type = "S"
  }

  attribute {
    name = "job_name"
    type = "S"
  }

  attribute {
    name = "job_key"
    type = "S"
  }

  attribute {
    name = "job_guid"
    type = "S"
  }

  attribute {
    name = "active_schedule"
    type = "S"
  }

  attribute {
    name = "catalog"
    type = "S"
  }

  attribute {
    name = "untold_since"
    type = "S"
  }

  # An item has `active_schedule` only while its job should fire, so this index holds exactly what is due.
  global_secondary_index {
    name            = "by_schedule"
    hash_key        = "active_schedule"
    range_key       = "job_key"
    projection_type = "KEYS_ONLY"
  }

  # What `by_schedule` holds, with what a tick passes to the state machine. (It is an index of its own because a
  # changed projection would replace the index, and ticks would find nothing until it is filled.)
  global_secondary_index {
    name               = "due"
    hash_key           = "active_schedule"
    range_key          = "job_key"
    projection_type    = "INCLUDE"
    non_key_attributes = ["async", "heartbeat_interval_seconds", "max_duration_seconds", "spread_seconds", "ttl_seconds", "workflow_type"]
  }

  global_secondary_index {
    name            = "by_guid"
    hash_key        = "job_guid"
    projection_type = "KEYS_ONLY"
  }

  # All jobs in order, without a Scan, with the attributes that searches filter by.
  global_secondary_index {
    name               = "catalog"
    hash_key           = "catalog"
    range_key          = "job_key"
    projection_type    = "INCLUDE"
    non_key_attributes = ["owner", "tags"]
  }

  # Sparse: an item has `untold_since` until the event about its last change is published.
  global_secondary_index {
    name            = "untold"
    hash_key        = "catalog"
    range_key       = "untold_since"
    projection_type = "KEYS_ONLY"
  }

  point_in_time_recovery {
    enabled = var.point_in_time_recovery
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.stage.arn
  }
}

resource "aws_dynamodb_table" "executions" {
  name         = "${local.prefix}-executions"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "job_guid"
  range_key    = "execution_id"

  attribute {
    name = "job_guid"
    type = "S"
  }

  attribute {
    name = "execution_id"
    type = "S"
  }

  attribute {
    name = "service_name"
    type = "S"
  }

  attribute {
    name = "time_key"
    type = "S"
  }

  attribute {
    name = "day_shard"
    type = "S"
  }

  attribute {
    name = "late_shard"
    type = "S"
  }

  attribute {
    name = "late_key"
    type = "S"
  }

  attribute {
    name = "sweep_shard"
    type = "S"
  }

  attribute {
    name = "sweep_at"
    type = "N"
  }

  attribute {
    name = "open_shard"
    type = "S"
  }

  attribute {
    name = "lock_expires_at"
    type = "N"
  }

  global_secondary_index {
    name               = "by_service"
    hash_key           = "service_name"
    range_key          = "time_key"
    projection_type    = "INCLUDE"
    non_key_attributes = ["status"]
  }

  global_secondary_index {
    name               = "by_day"
    hash_key           = "day_shard"
    range_key          = "time_key"
    projection_type    = "INCLUDE"
    non_key_attributes = ["status"]
  }

  # Sparse: only executions that started a minute or more after their time have `late_key`.
  global_secondary_index {
    name               = "late"
    hash_key           = "late_shard"
    range_key          = "late_key"
    projection_type    = "INCLUDE"
    non_key_attributes = ["service_name"]
  }

  # Sparse: an item has `sweep_shard` until its execution has ended and is settled.
  global_secondary_index {
    name            = "sweep"
    hash_key        = "sweep_shard"
    range_key       = "sweep_at"
    projection_type = "KEYS_ONLY"
  }

  # The open executions of the version before, which do not have `sweep_shard`. The next version removes this index.
  global_secondary_index {
    name            = "open"
    hash_key        = "open_shard"
    range_key       = "lock_expires_at"
    projection_type = "KEYS_ONLY"
  }

  ttl {
    attribute_name = "expires_at"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = var.point_in_time_recovery
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.stage.arn
  }
}

# The number of active jobs that share each schedule. With the last job of a schedule, its rule is removed.
resource "aws_dynamodb_table" "schedules" {
  name         = "${local.prefix}-schedules"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "stage"
  range_key    = "schedule"

  attribute {
    name = "stage"
    type = "S"
  }

  attribute {
    name = "schedule"
    type = "S"
  }

  point_in_time_recovery {
    enabled = var.point_in_time_recovery
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.stage.arn
  }
}

# One item for each service, with its webhook secrets. The functions encrypt the secrets before they store them.
resource "aws_dynamodb_table" "services" {
  name         = "${local.prefix}-services"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "service_name"

  attribute {
    name = "service_name"
    type = "S"
  }

  point_in_time_recovery {
    enabled = var.point_in_time_recovery
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.stage.arn
  }
}

# One item for each limit that several jobs of a service share, with the executions that hold its slots.
resource "aws_dynamodb_table" "limits" {
  name         = "${local.prefix}-limits"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "service_name"
  range_key    = "limit_name"

  attribute {
    name = "service_name"
    type = "S"
  }

  attribute {
    name = "limit_name"
    type = "S"
  }

  point_in_time_recovery {
    enabled = var.point_in_time_recovery
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.stage.arn
  }
}
