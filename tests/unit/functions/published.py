"""The events that the functions publish to the topic of a stage in moto."""

import json
from collections.abc import Callable
from typing import Any

import boto3

from tests.unit.functions.examples import ACCOUNT

type Events = Callable[[], list[dict[str, Any]]]


def subscribe() -> Events:
    """Returns a function that returns the events, in order, that were published since its last call."""
    topic = boto3.client("sns").create_topic(Name="events")["TopicArn"]
    queue = boto3.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    boto3.client("sns").subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=f"arn:aws:sqs:us-east-1:{ACCOUNT}:q",
        Attributes={"RawMessageDelivery": "true"},
    )

    def receive() -> list[dict[str, Any]]:
        found = boto3.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        return [json.loads(message["Body"]) for message in found.get("Messages", [])]

    return receive
