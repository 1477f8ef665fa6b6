"""One change of one job, by the update-job machine."""

import json
from typing import Any

from jobmanager.api.preconditions import passed_on
from jobmanager.aws.clients import synchronous_step_functions
from jobmanager.core.errors import AwsCallFailed, BadRequest, Contended, refused
from jobmanager.core.settings import setting
from jobmanager.jobs import changes
from jobmanager.jobs.definition import MOST_PAYLOAD_BYTES, job_view

_MOST_BYTES = 230 * 1024
# Of a function in a VPC that was idle for weeks; it takes a minute or two.
# https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
_NOT_CONNECTED = frozenset(
    f"Lambda.{name}Exception"
    for name in ("ResourceNotReady", "ENINotReady", "ResourceConflict", "EC2Throttled", "EC2Unexpected")
)


def update_job(change: dict[str, Any]) -> dict[str, Any]:
    """Answers ``{job, created}``; raises what a step refused, as the Refused that it was.

    ``change``: ``service_name``, ``job_name``, ``job`` (the body of a PUT, not looked at yet) and
    ``updated_by``; where given, ``managed_by``, and ``if_match`` and ``if_none_match`` as
    jobmanager.api.preconditions has them.
    """
    text = json.dumps(change, ensure_ascii=False)
    _check_size(change["job"], len(text.encode("utf-8")))
    result = synchronous_step_functions().start_sync_execution(
        stateMachineArn=setting("UPDATE_JOB_STATE_MACHINE_ARN"), input=text
    )
    if result.get("error") == "Contended":
        raise Contended(f"{change['service_name']}/{change['job_name']} is being changed by others.")
    if result.get("error") in _NOT_CONNECTED:
        raise Contended("A function of the stage is just being connected to its VPC.")
    if result["status"] != "SUCCEEDED":
        raise AwsCallFailed(
            f"update-job ended as {result['status']}: {result.get('error')}: {result.get('cause')}"
        )
    output: dict[str, Any] = json.loads(result["output"])
    if refusal := output.get("refusal"):
        raise refused(refusal)
    return output


def _check_size(body: Any, size: int) -> None:
    """What passes between states is limited, so what is far too large is refused before it gets there.

    https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
    """
    if size <= _MOST_BYTES:
        return
    payload = body.get("payload") if isinstance(body, dict) else None
    is_payload = isinstance(payload, str) and len(payload) > MOST_PAYLOAD_BYTES
    pointer, most = ("/payload", MOST_PAYLOAD_BYTES) if is_payload else ("", _MOST_BYTES)
    detail = f"expected at most {most} bytes"
    raise BadRequest("The job is too large", errors=[{"pointer": pointer, "detail": detail}])


def save_change(change: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """Writes a validated job, and publishes the event of the change. Safe to repeat.

    Returns ``job`` as the API shows it, whether it was ``created``, and the ``schedules`` to settle.
    """
    job, created = changes.save(
        change["service_name"],
        change["job_name"],
        change["job"],
        change["updated_by"],
        at_ms,
        passed_on(change),
        change.get("managed_by"),
    )
    active = [job["active_schedule"]] if "active_schedule" in job else []
    return {"job": job_view(job), "created": created, "schedules": [*active, *job["left_schedules"]]}
