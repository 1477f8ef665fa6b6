"""The stage's events topic: how an event is published there."""

import json
from typing import TYPE_CHECKING, Any

from jobmanager.core.settings import setting

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


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
