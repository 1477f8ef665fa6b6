"""Publishes the events about executions."""

from typing import Any

from jobmanager.aws.clients import sns
from jobmanager.aws.topics import publish
from jobmanager.core.clock import iso
from jobmanager.core.mappings import picked
from jobmanager.executions import attempts
from jobmanager.executions.published_outcome import published_outcome
from jobmanager.executions.record import Execution
from jobmanager.jobs.definition import Job

_EVENT_OF_STATUS = {
    "running": "execution.started",
    "success": "execution.succeeded",
    "fail": "execution.failed",
    "timeout": "execution.timed_out",
    "skipped": "execution.skipped",
    "cancelled": "execution.cancelled",
}
_PUBLISHED = (
    "service_name",
    "job_name",
    "job_guid",
    "execution_id",
    "status",
    "reason",
    "scheduled_time",
    "scheduled_time_ms",
    "starts_at",
    "started_at_ms",
    "service_invoked_at_ms",
    "finished_at_ms",
    "fencing_token",
    "correlation_id",
)


def publish_event(record: Execution, now_ms: int, job: Job | None = None) -> None:
    """Publishes the event for the status of an execution, without payload and state.

    ``job``, if the caller has just read or written it, adds its owner. Delivered at least once: ``event``
    with ``execution_id`` identifies duplicates.
    """
    publish(sns(), event_message(_EVENT_OF_STATUS[record["status"]], record, now_ms, job))


def event_message(event: str, record: Execution, now_ms: int, job: Job | None) -> dict[str, Any]:
    """Builds an event about an execution."""
    message: dict[str, Any] = {
        "event": event,
        "occurred_at": iso(now_ms),
        **picked(record, _PUBLISHED),
        **published_outcome(record, job),
    }
    if record["status"] != "skipped":
        message["attempt"] = attempts.latest(record)
    return message
