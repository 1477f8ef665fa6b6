"""The events topic: what the manager tells subscribers about executions."""

import json
from typing import Any

from jobmanager.aws import sns
from jobmanager.clock import iso
from jobmanager.executions import Execution
from jobmanager.settings import setting

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
    attributes = {"event": name, "service_name": record["service_name"], "job_name": record["job_name"]}
    sns().publish(
        TopicArn=setting("EVENTS_TOPIC_ARN"),
        Message=json.dumps(message, ensure_ascii=False),
        MessageAttributes={
            field: {"DataType": "String", "StringValue": value} for field, value in attributes.items()
        },
    )
