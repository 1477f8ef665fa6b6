"""Example inputs of the functions: jobs, executions and requests."""

from collections.abc import Mapping
from typing import Any, cast

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id, job_guid
from jobmanager.executions import settle
from jobmanager.executions import store as executions
from jobmanager.executions.outcome import record_outcome
from jobmanager.executions.record import Due, Execution, Result, Status
from jobmanager.jobs import changes
from jobmanager.jobs.definition import Job
from jobmanager.jobs.validation import definition

NOON_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z
ACCOUNT = "123456789012"
MACHINE = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:sjm-test-run-job"


def save_job(
    job_name: str = "nightly", service_name: str = "billing", at_ms: int = NOON_MS, **fields: Any
) -> Job:
    """Saves a webhook job directly, without the API. ``fields``: as in a PUT."""
    body = {
        "schedule": "rate(5 minutes)",
        "invocation_type": "http",
        "invocation_target": "https://billing.example/jobs",
        **fields,
    }
    job, _ = changes.save(service_name, job_name, definition(body, "topic"), "tester", at_ms)
    return job


def due(
    job_name: str = "nightly",
    service_name: str = "billing",
    at_ms: int = NOON_MS,
    schedule: str = "rate(5 minutes)",
) -> Due:
    """The input that start_due_executions gives to the state machine."""
    guid = job_guid(service_name, job_name)
    return {
        "service_name": service_name,
        "job_name": job_name,
        "job_guid": guid,
        "execution_id": execution_id(guid, at_ms),
        "schedule": schedule,
        "scheduled_time": iso(at_ms),
    }


def stored(execution: Mapping[str, Any]) -> Execution:
    """The current record of an execution."""
    record = executions.find(execution["execution_id"])
    assert record is not None
    return record


def api_event(
    method: str = "GET",
    body: str | None = None,
    content_type: str = "application/json",
    query: dict[str, str] | None = None,
    **path: str,
) -> dict[str, Any]:
    """An API Gateway event, payload format 2.0."""
    return {
        "version": "2.0",
        "headers": {"content-type": content_type},
        "queryStringParameters": query,
        "pathParameters": path or None,
        "requestContext": {
            "http": {"method": method},
            "authorizer": {"iam": {"userArn": f"arn:aws:iam::{ACCOUNT}:user/ann"}},
        },
        "body": body,
        "isBase64Encoded": False,
    }


def lambda_context() -> LambdaContext:
    """The context that Lambda passes to a handler."""
    context = LambdaContext()
    context._function_name = "sjm-test-function"
    context._memory_limit_in_mb = 256
    context._invoked_function_arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:sjm-test-function"
    context._aws_request_id = "request-1"
    context.get_remaining_time_in_millis = lambda: 300_000  # type: ignore[method-assign]
    return context


def finish(execution: Mapping[str, Any], at_ms: int) -> Execution:
    """Finishes an execution as finish_execution does. ``execution``: the JSON from the state machine."""
    return settle.finish(cast(settle.FinishInput, execution), at_ms)


def end_as(
    execution: Mapping[str, Any], status: str, result: Mapping[str, Any], at_ms: int
) -> Execution | None:
    """Records an outcome of the current attempt."""
    return record_outcome(stored(execution), cast(Status, status), cast(Result, result), at_ms)
