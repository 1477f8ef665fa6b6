# The stage at a glance, from top to bottom: the alarms, what jobs do, what the manager does, and what costs money.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html

locals {
  dashboard = "${local.prefix}-dashboard"

  # Each partition has its own console.
  console = {
    aws        = "console.aws.amazon.com"
    aws-cn     = "console.amazonaws.cn"
    aws-us-gov = "console.amazonaws-us-gov.com"
  }
  dashboard_url = "https://${local.region}.${lookup(local.console, local.partition, local.console.aws)}/cloudwatch/home?region=${local.region}#dashboards/dashboard/${local.dashboard}"

  alarm_arns = [for alarm in aws_cloudwatch_metric_alarm.alarm : alarm.arn]

  function_names = [for function in values(local.functions) : function.function_name]

  # The part of a query that says which logs it reads. Each time that a widget is shown, it reads the logs of the time
  # that the dashboard shows, at $0.005 a GB. Metrics cost less on a stage that writes many GB a day.
  finishing_logs = join(" | ", [for group in local.queries["what failed"].log_groups : "SOURCE '${group}'"])
  function_logs  = join(" | ", [for group in local.function_log_groups : "SOURCE '${group}'"])

  # Rows of widgets. The widths of those that are shown add up to 24.
  dashboard_rows = [
    {
      height = 3
      widgets = [
        { width = 24, type = "alarm", properties = { title = "Alarms", alarms = local.alarm_arns } },
      ]
    },
    {
      height = 6
      widgets = [
        {
          width = 12, type = "metric", properties = {
            title = "How executions ended", stat = "Sum", view = "timeSeries", stacked = true, metrics = [
              [local.metrics_namespace, "Succeeded", "stage", var.stage, { color = "#2ca02c" }],
              [local.metrics_namespace, "Failed", "stage", var.stage, { color = "#d62728" }],
              [local.metrics_namespace, "TimedOut", "stage", var.stage, { color = "#ff7f0e" }],
              [local.metrics_namespace, "Skipped", "stage", var.stage, { color = "#c7c7c7" }],
              [local.metrics_namespace, "Cancelled", "stage", var.stage, { color = "#7f7f7f" }],
            ]
          }
        },
        {
          width = 6, shown = !var.metrics_by_service, type = "log", properties = {
            title = "Failed, by service", view = "bar",
            query = "${local.finishing_logs} | filter message = \"execution finished\" and status in [\"fail\", \"timeout\"] | stats count(*) as executions by service_name | sort executions desc"
          }
        },
        {
          width = 6, shown = var.metrics_by_service, type = "metric", properties = {
            title = "Failed, by service", stat = "Sum", view = "timeSeries", metrics = [
              [{ expression = "SEARCH('{${local.metrics_namespace},service,stage} MetricName=\"Failed\" stage=\"${var.stage}\"', 'Sum', 300)", label = "$${PROP('Dim.service')}" }],
              [{ expression = "SEARCH('{${local.metrics_namespace},service,stage} MetricName=\"TimedOut\" stage=\"${var.stage}\"', 'Sum', 300)", label = "$${PROP('Dim.service')}, timed out" }],
            ]
          }
        },
        {
          width = 6, type = "metric", properties = {
            title = "Skipped, by reason", stat = "Sum", view = "timeSeries", metrics = [
              [{ expression = "SEARCH('{${local.metrics_namespace},reason,stage} MetricName=\"SkippedBecause\" stage=\"${var.stage}\"', 'Sum', 300)", label = "$${PROP('Dim.reason')}" }],
            ]
          }
        },
      ]
    },
    {
      height = 6
      widgets = [
        {
          width = 6, type = "metric", properties = {
            title = "From the tick to the notification, ms", view = "timeSeries", metrics = [
              [local.metrics_namespace, "InvocationLatency", "stage", var.stage, { stat = "p50", label = "p50" }],
              [local.metrics_namespace, "InvocationLatency", "stage", var.stage, { stat = "p99", label = "p99" }],
              [local.metrics_namespace, "Waited", "stage", var.stage, { stat = "p50", label = "of those that had to wait: the wait, p50" }],
            ]
          }
        },
        {
          width = 6, type = "metric", properties = {
            title = "From the tick to the notification, percent of the ttl", view = "timeSeries", metrics = [
              [local.metrics_namespace, "InvocationLatencyPct", "stage", var.stage, { stat = "p50", label = "p50" }],
              [local.metrics_namespace, "InvocationLatencyPct", "stage", var.stage, { stat = "p99", label = "p99" }],
            ]
          }
        },
        {
          width = 6, type = "metric", properties = {
            title = "How long services took, ms", view = "timeSeries", metrics = [
              [local.metrics_namespace, "Duration", "stage", var.stage, { stat = "p50", label = "p50" }],
              [local.metrics_namespace, "Duration", "stage", var.stage, { stat = "p99", label = "p99" }],
            ]
          }
        },
        {
          width = 6, type = "metric", properties = {
            title = "Heartbeats, and executions that had to wait", stat = "Sum", view = "timeSeries", metrics = [
              [local.metrics_namespace, "Heartbeats", "stage", var.stage],
              [local.metrics_namespace, "Waiting", "stage", var.stage],
            ]
          }
        },
      ]
    },
    {
      height = 6
      widgets = [
        {
          width = 6, type = "metric", properties = {
            title = "What the manager corrected, and where it failed", stat = "Sum", view = "timeSeries", metrics = [
              [local.metrics_namespace, "ManagerFailed", "stage", var.stage],
              [local.metrics_namespace, "Reaped", "stage", var.stage],
              [local.metrics_namespace, "Retried", "stage", var.stage],
              [local.metrics_namespace, "Late", "stage", var.stage],
              [local.metrics_namespace, "Reconciled", "stage", var.stage],
              [local.metrics_namespace, "MissedTicks", "stage", var.stage],
            ]
          }
        },
        {
          width = 6, type = "metric", properties = {
            title = "Dead letters", stat = "Maximum", view = "timeSeries", metrics = [
              for key, queue in local.dead_letter_queues : ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue]
            ]
          }
        },
        {
          width = 6, type = "metric", properties = {
            title = "Requests to the API", stat = "Sum", view = "timeSeries", metrics = [
              ["AWS/ApiGateway", "4xx", "ApiId", aws_apigatewayv2_api.stage.id],
              ["AWS/ApiGateway", "5xx", "ApiId", aws_apigatewayv2_api.stage.id],
              ["AWS/ApiGateway", "Latency", "ApiId", aws_apigatewayv2_api.stage.id, { stat = "p99", yAxis = "right", label = "Latency p99, ms" }],
            ]
          }
        },
        {
          width = 6, type = "log", properties = {
            title = "Callbacks, by status", view = "pie",
            query = "SOURCE '${aws_cloudwatch_log_group.api.name}' | filter route = \"POST /callback/{callback_token}\" | stats count(*) as callbacks by status"
          }
        },
      ]
    },
    {
      height = 6
      widgets = [
        {
          width = 6, type = "metric", properties = {
            title = "Errors of functions", stat = "Sum", view = "timeSeries", legend = { position = "hidden" }, metrics = [
              for name in local.function_names : ["AWS/Lambda", "Errors", "FunctionName", name]
            ]
          }
        },
        {
          width = 6, type = "metric", properties = {
            title = "Duration of functions, p99, ms", stat = "p99", view = "timeSeries", legend = { position = "hidden" }, metrics = [
              for name in local.function_names : ["AWS/Lambda", "Duration", "FunctionName", name]
            ]
          }
        },
        {
          width = 12, shown = !var.metrics_by_function, type = "log", properties = {
            title = "Cold starts and memory used", view = "table",
            query = "${local.function_logs} | ${replace(trimspace(local.queries["cold starts"].query), "\n", " ")}"
          }
        },
        {
          width = 6, shown = var.metrics_by_function, type = "metric", properties = {
            title = "Memory used, percent", stat = "Maximum", view = "timeSeries", legend = { position = "hidden" }, metrics = [
              [{ expression = "SEARCH('{${local.metrics_namespace},function,stage} MetricName=\"MemoryUsed\" stage=\"${var.stage}\"', 'Maximum', 300)", label = "$${PROP('Dim.function')}" }],
            ]
          }
        },
        {
          width = 6, shown = var.metrics_by_function, type = "metric", properties = {
            title = "Cold starts", stat = "Sum", view = "timeSeries", legend = { position = "hidden" }, metrics = [
              [{ expression = "SEARCH('{${local.metrics_namespace},function,stage} MetricName=\"ColdStarts\" stage=\"${var.stage}\"', 'Sum', 300)", label = "$${PROP('Dim.function')}" }],
            ]
          }
        },
      ]
    },
    {
      height = 6
      widgets = [
        {
          width = 6, type = "metric", properties = {
            title = "Lambda concurrency of the whole account", stat = "Maximum", view = "timeSeries", metrics = [
              ["AWS/Lambda", "ConcurrentExecutions"],
              ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", module.start_due_executions.function_name],
              ["AWS/Lambda", "Throttles", "FunctionName", module.start_due_executions.function_name, { stat = "Sum", yAxis = "right" }],
            ]
          }
        },
        {
          width = 6, type = "metric", properties = {
            title = "How long ticks waited, ms", stat = "Maximum", view = "timeSeries", metrics = [
              ["AWS/Lambda", "AsyncEventAge", "FunctionName", module.start_due_executions.function_name],
              ["AWS/States", "ExecutionThrottled", "StateMachineArn", local.run_job_arn, { stat = "Sum", yAxis = "right" }],
            ]
          }
        },
        {
          width = 6, type = "metric", properties = {
            title = "What costs: executions, invocations, requests", stat = "Sum", view = "timeSeries", metrics = [
              ["AWS/States", "ExecutionsStarted", "StateMachineArn", local.run_job_arn, { label = "executions, most with 2 transitions" }],
              ["AWS/ApiGateway", "Count", "ApiId", aws_apigatewayv2_api.stage.id, { label = "requests to the API" }],
              ["AWS/SNS", "NumberOfMessagesPublished", "TopicName", aws_sns_topic.notifications.name],
              ["AWS/SNS", "NumberOfMessagesPublished", "TopicName", aws_sns_topic.events.name],
            ]
          }
        },
        {
          width = 6, type = "metric", properties = {
            title = "What costs: DynamoDB units", stat = "Sum", view = "timeSeries", metrics = [
              ["AWS/DynamoDB", "ConsumedWriteCapacityUnits", "TableName", aws_dynamodb_table.executions.name],
              ["AWS/DynamoDB", "ConsumedReadCapacityUnits", "TableName", aws_dynamodb_table.executions.name],
              ["AWS/DynamoDB", "ConsumedWriteCapacityUnits", "TableName", aws_dynamodb_table.jobs.name],
              ["AWS/DynamoDB", "ConsumedReadCapacityUnits", "TableName", aws_dynamodb_table.jobs.name],
            ]
          }
        },
      ]
    },
  ]

  dashboard_rows_shown = [
    for row in local.dashboard_rows : merge(row, { widgets = [for widget in row.widgets : widget if try(widget.shown, true)] })
  ]
}

resource "aws_cloudwatch_dashboard" "stage" {
  count = var.dashboard ? 1 : 0

  dashboard_name = local.dashboard

  dashboard_body = jsonencode({
    start = "-PT12H"
    widgets = flatten([
      for number, row in local.dashboard_rows_shown : [
        for place, widget in row.widgets : {
          type   = widget.type
          x      = sum(concat([0], [for before in slice(row.widgets, 0, place) : before.width]))
          y      = sum(concat([0], [for above in slice(local.dashboard_rows_shown, 0, number) : above.height]))
          width  = widget.width
          height = row.height
          # An alarm widget takes no region.
          properties = merge(widget.properties, widget.type == "alarm" ? {} : { region = local.region }, widget.type == "metric" ? { period = 300 } : {})
        }
      ]
    ])
  })
}
