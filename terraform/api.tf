locals {
  # All routes of the API: the function that answers, and who may call it.
  routes = {
    "PUT /services/{service_name}/jobs/{job_name}"                                   = { function = "put_job", authorization = "AWS_IAM" }
    "GET /services/{service_name}/jobs/{job_name}"                                   = { function = "get_job", authorization = "AWS_IAM" }
    "DELETE /services/{service_name}/jobs/{job_name}"                                = { function = "delete_job", authorization = "AWS_IAM" }
    "GET /services/{service_name}/jobs"                                              = { function = "list_jobs", authorization = "AWS_IAM" }
    "GET /jobs"                                                                      = { function = "list_jobs", authorization = "AWS_IAM" }
    "POST /jobs"                                                                     = { function = "list_jobs", authorization = "AWS_IAM" }
    "GET /services/{service_name}/jobs/{job_name}/executions"                        = { function = "list_executions", authorization = "AWS_IAM" }
    "GET /services/{service_name}/executions"                                        = { function = "list_executions", authorization = "AWS_IAM" }
    "GET /executions"                                                                = { function = "list_executions", authorization = "AWS_IAM" }
    "POST /executions"                                                               = { function = "list_executions", authorization = "AWS_IAM" }
    "GET /services/{service_name}/jobs/{job_name}/executions/{execution_id}"         = { function = "get_execution", authorization = "AWS_IAM" }
    "GET /services/{service_name}/jobs/{job_name}/executions/{execution_id}/chain"   = { function = "get_chain", authorization = "AWS_IAM" }
    "POST /services/{service_name}/jobs/{job_name}/executions"                       = { function = "start_execution", authorization = "AWS_IAM" }
    "POST /services/{service_name}/jobs/{job_name}/executions/{execution_id}/cancel" = { function = "cancel_execution", authorization = "AWS_IAM" }
    "POST /services/{service_name}/jobs/{job_name}/executions/{execution_id}/rerun"  = { function = "rerun_execution", authorization = "AWS_IAM" }
    "POST /executions/cancel"                                                        = { function = "cancel_executions", authorization = "AWS_IAM" }
    "POST /executions/rerun"                                                         = { function = "rerun_executions", authorization = "AWS_IAM" }
    "POST /services/{service_name}/executions/cancel"                                = { function = "cancel_executions", authorization = "AWS_IAM" }
    "POST /services/{service_name}/executions/rerun"                                 = { function = "rerun_executions", authorization = "AWS_IAM" }
    "POST /services/{service_name}/jobs/{job_name}/backfill"                         = { function = "backfill_job", authorization = "AWS_IAM" }
    "POST /services/{service_name}/jobs/{job_name}/pause"                            = { function = "pause_job", authorization = "AWS_IAM" }
    "POST /services/{service_name}/jobs/{job_name}/test"                             = { function = "test_job", authorization = "AWS_IAM" }
    "POST /services/{service_name}/jobs/{job_name}/resume"                           = { function = "resume_job", authorization = "AWS_IAM" }
    "POST /services/{service_name}/webhook-secrets"                                  = { function = "create_webhook_secret", authorization = "AWS_IAM" }
    "GET /services/{service_name}/webhook-secrets"                                   = { function = "list_webhook_secrets", authorization = "AWS_IAM" }
    "DELETE /services/{service_name}/webhook-secrets/{secret_id}"                    = { function = "delete_webhook_secret", authorization = "AWS_IAM" }
    "GET /services/{service_name}/limits"                                            = { function = "list_limits", authorization = "AWS_IAM" }
    "PUT /services/{service_name}/limits/{limit_name}"                               = { function = "put_limit", authorization = "AWS_IAM" }
    "GET /services/{service_name}/limits/{limit_name}"                               = { function = "get_limit", authorization = "AWS_IAM" }
    "DELETE /services/{service_name}/limits/{limit_name}"                            = { function = "delete_limit", authorization = "AWS_IAM" }
    "GET /schedules"                                                                 = { function = "list_schedules", authorization = "AWS_IAM" }
    "GET /schedules/preview"                                                         = { function = "preview_schedule", authorization = "AWS_IAM" }
    "POST /schedules/reconcile"                                                      = { function = "reconcile_schedules", authorization = "AWS_IAM" }
    # The token in the path authorizes the call.
    "POST /callback/{callback_token}" = { function = "receive_callback", authorization = "NONE" }
    # The OpenAPI document is public.
    "GET /openapi.json" = { function = "get_openapi", authorization = "NONE" }
  }

  api_functions = toset([for route in local.routes : route.function])

  # This is not the invoke_url of the API's stage. The stage depends on the functions, and run_execution needs the URL.
  api_url = (
    var.api_url_format == null
    ? aws_apigatewayv2_api.stage.api_endpoint
    : format(coalesce(var.api_url_format, "%s"), aws_apigatewayv2_api.stage.id)
  )
}

resource "aws_apigatewayv2_api" "stage" {
  name          = "${local.prefix}-api"
  description   = "Serverless Job Manager, stage ${local.prefix}"
  protocol_type = "HTTP"
}

resource "aws_apigatewayv2_integration" "function" {
  for_each = local.api_functions

  api_id                 = aws_apigatewayv2_api.stage.id
  integration_type       = "AWS_PROXY"
  integration_method     = "POST"
  integration_uri        = local.functions[each.key].invoke_arn
  payload_format_version = "2.0"
  timeout_milliseconds   = local.functions[each.key].timeout * 1000 + 1000 # at most 30,000
}

resource "aws_apigatewayv2_route" "route" {
  #checkov:skip=CKV_AWS_309: only the callback, authorized by its token, and the OpenAPI document are open; see local.routes
  for_each = local.routes

  api_id             = aws_apigatewayv2_api.stage.id
  route_key          = each.key
  authorization_type = each.value.authorization
  target             = "integrations/${aws_apigatewayv2_integration.function[each.value.function].id}"

  # Terraform destroys the routes before it removes the rules, so no job makes a rule after that.
  depends_on = [terraform_data.schedule_rules]
}

resource "aws_lambda_permission" "route" {
  for_each = local.routes

  statement_id  = "AllowRoute${join("", [for word in regexall("[A-Za-z]+", each.key) : title(lower(word))])}"
  function_name = local.functions[each.value.function].function_name
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"

  # <api>/<stage>/<method>/<path>, with a * for each path parameter.
  source_arn = "${aws_apigatewayv2_api.stage.execution_arn}/*/${replace(replace(each.key, " ", ""), "/{[^}]+}/", "*")}"
}

resource "aws_apigatewayv2_stage" "default" {
  api_id      = aws_apigatewayv2_api.stage.id
  name        = "$default"
  auto_deploy = true

  default_route_settings {
    # Six metrics for each route, at $0.30 a month each; the access log has the same facts.
    detailed_metrics_enabled = false
    throttling_burst_limit   = var.api_throttling_burst_limit
    throttling_rate_limit    = var.api_throttling_rate_limit
  }

  # The path is left out, because it contains the callback's token. The route key is enough for an operator.
  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.api.arn
    format = jsonencode({
      request_id        = "$context.requestId"
      time              = "$context.requestTime"
      source_ip         = "$context.identity.sourceIp"
      caller            = "$context.identity.caller"
      route             = "$context.routeKey"
      status            = "$context.status"
      response_length   = "$context.responseLength"
      response_latency  = "$context.responseLatency"
      integration_error = "$context.integrationErrorMessage"
    })
  }
}

# Log groups under /aws/vendedlogs/ do not add to the resource policy of CloudWatch Logs, whose size is limited. To
# apply this, you need logs:CreateLogDelivery and the related permissions.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging.html
resource "aws_cloudwatch_log_group" "api" {
  #checkov:skip=CKV_AWS_338: the stage decides how long to keep logs: log_retention_days
  name              = "/aws/vendedlogs/apigateway/${local.prefix}-api"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.stage.arn
}

# Where the client finds the stage: see docs/client.md.
resource "aws_ssm_parameter" "api_url" {
  #checkov:skip=CKV2_AWS_34: an address is no secret, and a reader needs no right on a key this way
  name        = "/${var.name}/${var.stage}/api-url"
  description = "URL of the API of Serverless Job Manager, stage ${local.prefix}"
  type        = "String"
  value       = local.api_url
}
