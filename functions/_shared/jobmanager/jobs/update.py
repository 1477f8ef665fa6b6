"""Runs the update-job machine, and does its step that writes the job.

The job goes into the machine as the caller sent it. Behind the step that writes it, only small facts about it
pass on: with its last results, a job can be larger than the output that a state may have.
"""

import json
from typing import Any

from jobmanager.api.preconditions import expected_of_change
from jobmanager.aws.clients import synchronous_step_functions
from jobmanager.core.errors import AwsCallFailed, BadRequest, Contended, refusal_of
from jobmanager.core.settings import setting
from jobmanager.jobs import changes
from jobmanager.jobs.definition import MAX_PAYLOAD_BYTES, is_chained
from jobmanager.jobs.timing import schedule_key
from jobmanager.limits.waiting import ask_for_turns
from jobmanager.schedules.warnings import warnings_of

_MAX_BYTES = 230 * 1024
# Errors of a function in a VPC that was idle for weeks: connecting it again takes a minute or two.
# https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
_NOT_CONNECTED = frozenset(
    f"Lambda.{name}Exception"
    for name in ("ResourceNotReady", "ENINotReady", "ResourceConflict", "EC2Throttled", "EC2Unexpected")
)


def update_job(change: dict[str, Any]) -> dict[str, Any]:
    """Runs one change through the machine; returns ``{created, version, warnings}``.

    Raises the Refused of any step.

    ``change`` holds ``service_name``, ``job_name``, ``job`` (the body of a PUT, not validated yet) and
    ``updated_by``. It may hold ``managed_by``, ``request_id``, and the conditions ``if_match`` and
    ``if_none_match`` of jobmanager.api.preconditions.
    """
    text = json.dumps(change, ensure_ascii=False)
    _check_size(change["job"], len(text.encode("utf-8")))
    result = synchronous_step_functions().start_sync_execution(
        stateMachineArn=setting("UPDATE_JOB_STATE_MACHINE_ARN"), input=text
    )
    if result.get("error") == "Contended":
        raise Contended(f"{change['service_name']}/{change['job_name']} is being changed by others.")
    if result.get("error") in _NOT_CONNECTED:
        raise Contended("A function of the stage is being connected to its VPC.")
    if result["status"] != "SUCCEEDED":
        raise AwsCallFailed(
            f"update-job ended as {result['status']}: {result.get('error')}: {result.get('cause')}"
        )
    output: dict[str, Any] = json.loads(result["output"])
    if refusal := output.get("refusal"):
        raise refusal_of(refusal)
    return output


def _check_size(body: Any, size: int) -> None:
    """Refuses a job that is too large for the input of a state machine, which is limited.

    https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
    """
    if size <= _MAX_BYTES:
        return
    payload = body.get("payload") if isinstance(body, dict) else None
    is_payload = isinstance(payload, str) and len(payload) > MAX_PAYLOAD_BYTES
    pointer, max_bytes = ("/payload", MAX_PAYLOAD_BYTES) if is_payload else ("", _MAX_BYTES)
    detail = f"expected at most {max_bytes} bytes"
    raise BadRequest(f"The job is too large: {detail}", errors=[{"pointer": pointer, "detail": detail}])


def save_change(change: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """Writes a validated job, and publishes the event of the change. Safe to repeat.

    If executions wait for the job's lock, asks for those whose turn this brings, as a new ``overlap`` may.

    Returns whether the job was ``created``, its ``version``, ``warnings`` about its schedule, and the
    ``schedules`` to settle: also the one that a paused job does not enter, because the machine has put its
    trigger. ``change`` may hold ``rate_since_ms``: see :func:`jobmanager.schedules.limit.put_schedule`.
    """
    job, created = changes.save(
        change["service_name"],
        change["job_name"],
        change["job"],
        change["updated_by"],
        at_ms,
        expected_of_change(change),
        change.get("managed_by"),
        change.get("request_id"),
    )
    if job.get("waiting_count"):
        ask_for_turns({"service_name": job["service_name"], "job_name": job["job_name"]})
    saved = {"created": created, "version": job["version"]}
    if is_chained(job):
        return {**saved, "schedules": job["left_schedules"], "warnings": []}
    schedule = schedule_key(job)
    put = [schedule] if job["enabled"] else []
    since_ms = job["active_since_ms"] if "active_schedule" in job else None
    return {
        **saved,
        "schedules": list(dict.fromkeys([*put, *job["left_schedules"]])),
        "warnings": warnings_of(schedule, since_ms, change.get("rate_since_ms"), at_ms),
    }
