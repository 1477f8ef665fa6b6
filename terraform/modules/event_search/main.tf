# The archive as a Glue table, an Athena workgroup to query it in, and saved queries for operators.

data "aws_partition" "current" {}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

locals {
  name        = "${var.function_defaults.prefix}-event-search"
  kms_key_arn = var.function_defaults.kms_key_arn
  partition   = data.aws_partition.current.partition
  dns_suffix  = data.aws_partition.current.dns_suffix
  region      = data.aws_region.current.id
  account_id  = data.aws_caller_identity.current.account_id
  place       = "${local.region}:${local.account_id}"

  database = "${replace(var.function_defaults.prefix, "-", "_")}_events"
  table    = "events"

  gigabyte = 1000 * 1000 * 1000

  archive_arn = "arn:${local.partition}:s3:::${var.archive.bucket}"
  location    = "s3://${var.archive.bucket}/${var.archive.events_prefix}"
}

resource "aws_athena_workgroup" "search" {
  name          = local.name
  description   = "Queries of the archived events of ${var.function_defaults.prefix}"
  force_destroy = true # also deletes its history and saved queries; the events are in the archive's bucket

  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true
    bytes_scanned_cutoff_per_query     = var.scanned_gigabytes_limit * local.gigabyte

    result_configuration {
      output_location = "s3://${aws_s3_bucket.results.bucket}/"

      encryption_configuration {
        encryption_option = "SSE_KMS"
        kms_key_arn       = local.kms_key_arn
      }
    }
  }
}

# The first line of each file is the query's description.
resource "aws_athena_named_query" "query" {
  for_each = fileset("${path.module}/queries", "*.sql")

  name        = replace(trimsuffix(each.key, ".sql"), "_", " ")
  description = trimprefix(split("\n", file("${path.module}/queries/${each.key}"))[0], "-- ")
  workgroup   = aws_athena_workgroup.search.id
  database    = aws_glue_catalog_database.events.name
  query       = templatefile("${path.module}/queries/${each.key}", { table = "${local.database}.${local.table}" })
}

# Athena counts scanned bytes separately for each final state of a query. It charges $5 a terabyte.
# https://docs.aws.amazon.com/athena/latest/ug/query-metrics-viewing.html
resource "aws_cloudwatch_metric_alarm" "scanned" {
  alarm_name          = "${local.name}-scanned"
  alarm_description   = "The queries in ${local.name} scanned many bytes within an hour; the value is in bytes. The workgroup's history shows who ran which query. A query without a condition on day reads the whole archive."
  evaluation_periods  = 1
  threshold           = var.alarm_scanned_gigabytes * local.gigabyte
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.alarms_topic_arn]
  ok_actions          = [var.alarms_topic_arn]

  metric_query {
    id          = "scanned"
    label       = "Bytes scanned"
    expression  = "SUM(METRICS())"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = toset(["SUCCEEDED", "FAILED", "CANCELED"])

    content {
      id = lower(metric_query.key)

      metric {
        namespace   = "AWS/Athena"
        metric_name = "ProcessedBytes"
        stat        = "Sum"
        period      = 3600

        dimensions = {
          QueryState = metric_query.key
          QueryType  = "DML"
          WorkGroup  = aws_athena_workgroup.search.name
        }
      }
    }
  }
}
