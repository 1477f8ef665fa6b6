# One row for each event, one column for each field that an event may have.

resource "aws_glue_catalog_database" "events" {
  name        = local.database
  description = "Archived events of ${var.function_defaults.prefix}"
}

locals {
  columns = {
    # Every event
    event       = "string"
    occurred_at = "string"

    # Events of jobs and executions
    service_name          = "string"
    job_name              = "string"
    job_guid              = "string"
    execution_id          = "string"
    attempt               = "int"
    status                = "string"
    reason                = "string"
    scheduled_time        = "string"
    scheduled_time_ms     = "bigint"
    starts_at             = "string"
    started_at_ms         = "bigint"
    service_invoked_at_ms = "bigint"
    finished_at_ms        = "bigint"
    error                 = "string"
    cause                 = "string"
    fault                 = "string"
    summary               = "string"
    last_succeeded_at_ms  = "bigint"
    fencing_token         = "bigint"
    correlation_id        = "string"
    progress              = "double"
    warn_after_seconds    = "int"

    # Changes of jobs
    version      = "bigint"
    updated_by   = "string"
    changed      = "array<string>"
    schedule     = "string"
    time_zone    = "string"
    start_at     = "string"
    end_at       = "string"
    enabled      = "boolean"
    description  = "string"
    owner        = "string"
    tags         = "map<string,string>"
    managed_by   = "string"
    paused       = "string"
    completed_at = "string"
    parent       = "string"
    after        = "string"

    # Jobs that fail repeatedly
    consecutive_failures = "int"
    alert_after_failures = "int"

    # Schedules
    trigger_type = "string"
    rule         = "string"
    found        = "string"
    done         = "string"
    first_missed = "string"
    last_missed  = "string"
    count        = "int"

    # Messages that are not JSON objects
    message = "string"
  }
}

resource "aws_glue_catalog_table" "events" {
  name          = local.table
  description   = "Archived events of the events topic. The partition day is when an event was archived, in UTC."
  database_name = aws_glue_catalog_database.events.name
  table_type    = "EXTERNAL_TABLE"

  # Athena computes the partitions and never loads them: https://docs.aws.amazon.com/athena/latest/ug/partition-projection.html
  parameters = {
    EXTERNAL                    = "TRUE"
    classification              = "json"
    "projection.enabled"        = "true"
    "projection.day.type"       = "date"
    "projection.day.format"     = "yyyy-MM-dd"
    "projection.day.range"      = "NOW-${var.archive.retention_days}DAYS,NOW"
    "storage.location.template" = "${local.location}day=$${day}/"
  }

  partition_keys {
    name = "day"
    type = "string"
  }

  storage_descriptor {
    location      = local.location
    input_format  = "org.apache.hadoop.mapred.TextInputFormat"
    output_format = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"
    compressed    = true

    # Hive's serializer fails at an object in a string column, such as paused. Names are case-sensitive, because
    # otherwise tags that differ only in case would make a line malformed.
    # https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html
    ser_de_info {
      serialization_library = "org.openx.data.jsonserde.JsonSerDe"
      parameters            = { "ignore.malformed.json" = "true", "case.insensitive" = "false" }
    }

    dynamic "columns" {
      for_each = local.columns

      content {
        name = columns.key
        type = columns.value
      }
    }
  }
}
