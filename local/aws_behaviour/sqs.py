"""SQS: moving messages from a dead-letter queue to another queue."""

import json
import time
from typing import Any

from ministack.core.responses import new_uuid
from ministack.services import sqs


def apply() -> None:
    """Corrects SQS."""
    move_messages()


def move_messages() -> None:
    """AWS can move all messages of a dead-letter queue; ministack cannot.

    A moved message counts as new, with a new retention period. This function requires a destination.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
    """
    sqs._HANDLERS["StartMessageMoveTask"] = start_message_move_task


def start_message_move_task(request: dict[str, Any], _url: str) -> dict[str, str]:
    """Moves all visible messages before it answers."""
    source, destination = (
        sqs._queue_by_arn(request.get(name, "")) for name in ("SourceArn", "DestinationArn")
    )
    if source is None or destination is None:
        raise sqs._Err("ResourceNotFoundException", "The resource that you specified does not exist.")
    arn = source["attributes"]["QueueArn"]
    if not any(redrives_to(queue) == arn for queue in sqs._queues.values()):
        raise sqs._Err("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
    now = time.time()
    moved = [message for message in source["messages"] if message["visible_at"] <= now]
    source["messages"] = [message for message in source["messages"] if message["visible_at"] > now]
    for message in moved:
        reset = {
            "id": new_uuid(),
            "sent_at": now,
            "visible_at": now,
            "receive_count": 0,
            "receipt_handle": None,
        }
        destination["messages"].append({**message, **reset})
    sqs.esm_wake.set()
    return {"TaskHandle": new_uuid()}


def redrives_to(queue: dict[str, Any]) -> str | None:
    """The ARN of a queue's dead-letter queue."""
    arn: str | None = json.loads(queue["attributes"].get("RedrivePolicy") or "{}").get("deadLetterTargetArn")
    return arn
