# Saved queries for the questions of an operator: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
# jobmanager.runtime.step and the format of the API's access log define their fields.

locals {
  function_log_groups = [for function in values(local.functions) : function.log_group_name]

  queries = {
    "what failed" = {
      log_groups = [module.receive_callback.log_group_name, module.run_execution.log_group_name, module.finish_execution.log_group_name, module.reap_executions.log_group_name, module.start_waiting_executions.log_group_name, module.notify_service.log_group_name]
      query      = <<-EOT
        filter message = "execution finished" and status in ["fail", "timeout"]
        | fields @timestamp, service_name, job_name, execution_id, status, error, fault
        | sort @timestamp desc
        | limit 500
      EOT
    }

    "one execution" = {
      log_groups = local.function_log_groups
      query      = <<-EOT
        filter execution_id = "PUT THE EXECUTION_ID HERE"
        | fields @timestamp, service, level, message, status, error, cause, detail, cold_start, xray_trace_id
        | sort @timestamp asc
        | limit 1000
      EOT
    }

    "errors" = {
      log_groups = local.function_log_groups
      query      = <<-EOT
        filter message in ["request failed", "step failed", "AWS call failed"] or @message like /Task timed out|Runtime exited|Runtime\./
        | fields @timestamp, service, service_name, job_name, execution_id, error, cause, correlation_id, xray_trace_id, @message
        | sort @timestamp desc
        | limit 500
      EOT
    }

    "slowest functions" = {
      log_groups = local.function_log_groups
      query      = <<-EOT
        filter @type = "REPORT"
        | stats count(*) as invocations, pct(@duration, 50) as p50_ms, pct(@duration, 99) as p99_ms, max(@duration) as longest_ms by @log
        | sort p99_ms desc
      EOT
    }

    "cold starts" = {
      log_groups = local.function_log_groups
      query      = <<-EOT
        filter @type = "REPORT"
        | stats count(*) as invocations, count(@initDuration) as cold_starts, max(@initDuration) as longest_ms, max(@maxMemoryUsed / @memorySize * 100) as memory_pct by @log
        | sort cold_starts desc
      EOT
    }

    "throttled starts" = {
      log_groups = [module.start_due_executions.log_group_name]
      query      = <<-EOT
        filter message = "not started yet"
        | stats count(*) as attempts, count_distinct(execution_id) as executions by bin(1m), error
      EOT
    }

    "refused callbacks" = {
      log_groups = [module.receive_callback.log_group_name]
      query      = <<-EOT
        filter message = "refused"
        | stats count(*) as callbacks by status, detail, service_name, job_name
        | sort callbacks desc
      EOT
    }

    "refused requests" = {
      log_groups = [aws_cloudwatch_log_group.api.name]
      query      = <<-EOT
        filter status like /^[45]/
        | stats count(*) as requests by route, status, caller
        | sort requests desc
      EOT
    }
  }
}

resource "aws_cloudwatch_query_definition" "query" {
  for_each = { for name, query in local.queries : name => query if var.saved_queries }

  name            = "${local.prefix}-queries/${each.key}"
  log_group_names = each.value.log_groups
  query_string    = trimspace(each.value.query)
}
