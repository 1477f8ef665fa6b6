"""POST …/jobs/{job_name}/executions: runs a job now, even if it is disabled or paused."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import bad_field, refuse_unknown, size_error
from jobmanager.api.http import answer, api_handler, caller_arn, header, optional_json_body, path_parameter
from jobmanager.core.clock import now_ms
from jobmanager.core.mappings import picked
from jobmanager.executions.by_hand import start_by_hand
from jobmanager.executions.record import ByHand
from jobmanager.executions.view import whole_view
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import MAX_PAYLOAD_BYTES, is_deleted, job_view
from jobmanager.runtime.step import step


def by_hand_of(body: dict[str, Any], started_by: str) -> ByHand:
    """Returns who starts the execution, and the payload if the body overrides it; raises BadRequest."""
    refuse_unknown(body, ("payload",))
    if "payload" not in body:
        return ByHand(started_by=started_by)
    payload = body["payload"]
    if not isinstance(payload, str):
        raise bad_field("payload", f"expected a string of at most {MAX_PAYLOAD_BYTES} bytes of UTF-8")
    for too_large in size_error("/payload", payload, MAX_PAYLOAD_BYTES):
        raise bad_field("payload", too_large["detail"])
    return ByHand(started_by=started_by, payload=payload)


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 201 with the execution, and with ``paused`` if its job is paused; else 400, 404 or 409."""
    service_name, job_name = (path_parameter(event, name) for name in ("service_name", "job_name"))
    by_hand = by_hand_of(optional_json_body(event), caller_arn(event))
    at_ms = now_ms()
    record = start_by_hand(service_name, job_name, by_hand, header(event, "idempotency-key"), at_ms)
    # The job may have been deleted meanwhile; the execution has started nevertheless.
    job = jobs.find(service_name, job_name)
    shown = job_view(job, at_ms) if job is not None and not is_deleted(job) else {}
    return answer(201, whole_view(record) | picked(shown, ("paused",)))
