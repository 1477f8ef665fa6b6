"""The events topic: what subscribers are told of executions; see also job_events, schedule_events."""

import json
from typing import TYPE_CHECKING, Any

from jobmanager import attempts
from jobmanager.aws import sns
from jobmanager.clock import iso
from jobmanager.executions import Execution
from jobmanager.settings import setting

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

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


def publish(client: "SNSClient", message: dict[str, Any]) -> None:
    """Sends one event; where it has ``event``, ``service_name``, ``job_name``, they become attributes too."""
    client.publish(
        TopicArn=setting("EVENTS_TOPIC_ARN"),
        Message=json.dumps(message, ensure_ascii=False),
        MessageAttributes={
            field: {"DataType": "String", "StringValue": message[field]}
            for field in ("event", "service_name", "job_name")
            if field in message
        },
    )
