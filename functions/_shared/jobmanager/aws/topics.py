"""Publishes events to the stage's events topic."""

from typing import TYPE_CHECKING, Any

from jobmanager.core.json_text import dumps
from jobmanager.core.settings import setting

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


def publish(client: "SNSClient", message: dict[str, Any]) -> None:
    """Publishes an event. Its ``event``, ``service_name`` and ``job_name``, if any, become attributes too."""
    client.publish(
        TopicArn=setting("EVENTS_TOPIC_ARN"),
        Message=dumps(message),
        MessageAttributes={
            field: {"DataType": "String", "StringValue": message[field]}
            for field in ("event", "service_name", "job_name")
            if field in message
        },
    )
