"""The events topic: what subscribers are told of executions; see also job_events, schedule_events."""

from typing import Any

from jobmanager.aws.clients import sns
from jobmanager.aws.topics import publish
from jobmanager.core.clock import iso
from jobmanager.executions import attempts
from jobmanager.executions.store import Execution

_EVENT_OF_STATUS = {
    "running": "execution.started",
    "success": "execution.succeeded",
    "fail": "execution.failed",
    "timeout": "execution.timed_out",
    "skipped": "execution.skipped",
    "cancelled": "execution.cancelled",
}
_TOLD = (
    "service_name",
    "job_name",
    "job_guid",
    "execution_id",
    "status",
    "reason",
    "scheduled_time",
    "scheduled_time_ms",
    "started_at_ms",
    "service_invoked_at_ms",
    "finished_at_ms",
    "summary",
    "fencing_token",
    "correlation_id",
)


def publish_event(record: Execution, now_ms: int) -> None:
    """Tells the subscribers where an execution stands. Payload, state and error details are not sent.

    Delivered at least once: ``event`` with ``execution_id`` tells repeats apart.
    """
    name = _EVENT_OF_STATUS[record["status"]]
    message: dict[str, Any] = {"event": name, "occurred_at": iso(now_ms)}
    message |= {field: record[field] for field in _TOLD if field in record}
    if record["status"] != "skipped":
        message["attempt"] = attempts.latest(record)
    publish(sns(), message)
