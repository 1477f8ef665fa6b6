from tests.unit.terraform.blocks import function_modules, routes

JOB = "/services/{service_name}/jobs/{job_name}"
ROUTES = {
    "POST /services/{service_name}/jobs/{job_name}/executions": "start_execution",
    "POST /services/{service_name}/jobs/{job_name}/executions/{execution_id}/cancel": "cancel_execution",
    "POST /services/{service_name}/jobs/{job_name}/executions/{execution_id}/rerun": "rerun_execution",
    "POST /executions/cancel": "cancel_executions",
    "POST /executions/rerun": "rerun_executions",
    "POST /services/{service_name}/executions/cancel": "cancel_executions",
    "POST /services/{service_name}/executions/rerun": "rerun_executions",
    "POST /services/{service_name}/jobs/{job_name}/backfill": "backfill_job",
    "POST /services/{service_name}/jobs/{job_name}/pause": "pause_job",
    "POST /services/{service_name}/jobs/{job_name}/resume": "resume_job",
    "POST /services/{service_name}/jobs/{job_name}/test": "test_job",
    "POST /services/{service_name}/webhook-secrets": "create_webhook_secret",
    "GET /services/{service_name}/webhook-secrets": "list_webhook_secrets",
    "DELETE /services/{service_name}/webhook-secrets/{secret_id}": "delete_webhook_secret",
    "GET /services/{service_name}/limits": "list_limits",
    "PUT /services/{service_name}/limits/{limit_name}": "put_limit",
    "GET /services/{service_name}/limits/{limit_name}": "get_limit",
    "DELETE /services/{service_name}/limits/{limit_name}": "delete_limit",
    "GET /schedules": "list_schedules",
    "GET /schedules/preview": "preview_schedule",
    "POST /schedules/reconcile": "reconcile_schedules",
    f"PUT {JOB}": "put_job",
    f"GET {JOB}": "get_job",
    f"DELETE {JOB}": "delete_job",
    "GET /services/{service_name}/jobs": "list_jobs",
    "GET /jobs": "list_jobs",
    "POST /jobs": "list_jobs",
    f"GET {JOB}/executions": "list_executions",
    "GET /services/{service_name}/executions": "list_executions",
    "GET /executions": "list_executions",
    "POST /executions": "list_executions",
    f"GET {JOB}/executions/{{execution_id}}": "get_execution",
    f"GET {JOB}/executions/{{execution_id}}/chain": "get_chain",
    "POST /callback/{callback_token}": "receive_callback",
    "GET /openapi.json": "get_openapi",
}
OPEN_ROUTES = {"POST /callback/{callback_token}", "GET /openapi.json"}


def test_the_api_has_exactly_these_routes() -> None:
    assert {key: function for key, (function, _) in routes().items()} == ROUTES


def test_only_the_callback_and_the_openapi_document_need_no_signature() -> None:
    assert {key for key, (_, kind) in routes().items() if kind != "AWS_IAM"} == OPEN_ROUTES


def test_every_route_calls_an_existing_function() -> None:
    assert {function for function, _ in routes().values()} <= set(function_modules())
