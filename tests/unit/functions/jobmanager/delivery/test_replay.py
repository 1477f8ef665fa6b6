"""replay_events: sends the events of the range to the target, and puts every event aside."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from functions.replay_events.handler import handler
from jobmanager.aws import clients as aws
from jobmanager.aws import invocations
from jobmanager.core.errors import AwsCallFailed
from jobmanager.delivery import replay as replayer
from tests.unit.functions.examples import lambda_context

SINCE, UNTIL = "2026-11-23T10:00:00Z", "2026-11-23T12:00:00Z"
ATTRIBUTES = {
    "event": {"Type": "String", "Value": "execution.failed"},
    "seal": {"Type": "Binary", "Value": "AAEC"},
}


def wrapped(at: str, message: str = "{}", **more: Any) -> str:
    """A message as SNS puts it into a queue."""
    envelope = {"Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:eu-west-1:1:t"}
    return json.dumps(
        envelope | {"Timestamp": at, "Message": message, "MessageAttributes": ATTRIBUTES} | more
    )


@pytest.fixture(autouse=True)
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    replayer.queue_url.cache_clear()
    with mock_aws():
        aws._client.cache_clear()
        monkeypatch.setenv("REPLAY_SINCE", SINCE)
        monkeypatch.setenv("REPLAY_UNTIL", UNTIL)
        monkeypatch.setenv("RAW_MESSAGE_DELIVERY", "true")
        monkeypatch.setenv("ASIDE_QUEUE_URL", boto3.client("sqs").create_queue(QueueName="aside")["QueueUrl"])
        monkeypatch.setenv("TARGET_ARN", "arn:aws:sqs:us-east-1:123456789012:target")
        boto3.client("sqs").create_queue(QueueName="target")
        yield
    aws._client.cache_clear()


def replayed(*bodies: str) -> None:
    handler({"Records": [{"body": body} for body in bodies]}, lambda_context())


def messages(queue: str) -> list[Any]:
    sqs, found = boto3.client("sqs"), list[Any]()
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    while batch := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    ).get("Messages", []):
        found += batch
    return found


def bodies(queue: str) -> list[str]:
    return [message["Body"] for message in messages(queue)]


def test_the_range_begins_with_since_and_ends_before_until() -> None:
    times = ["2026-11-23T09:59:59.999Z", "2026-11-23T10:00:00.000Z", "2026-11-23T11:59:59.999Z"]
    times += ["2026-11-23T12:00:00.000Z"]

    replayed(*(wrapped(at, message=at) for at in times))

    assert bodies("target") == times[1:3]


def test_every_event_is_put_aside_unchanged() -> None:
    events = [wrapped(at) for at in ("2026-11-01T00:00:00Z", SINCE, UNTIL)] + ["no event at all", "[]"]

    replayed(*events)

    assert bodies("aside") == events
    assert len(bodies("target")) == 1


def test_a_queue_gets_the_message_with_its_attributes() -> None:
    replayed(wrapped(SINCE, message='{"event": "execution.failed"}'))

    (message,) = messages("target")
    assert message["Body"] == '{"event": "execution.failed"}'
    assert message["MessageAttributes"] == {
        "event": {"DataType": "String", "StringValue": "execution.failed"},
        "seal": {"DataType": "Binary", "BinaryValue": b"\0\1\2"},
    }


def test_a_message_with_too_many_attributes_is_sent_without_attributes() -> None:
    many = {f"a{number}": {"Type": "String", "Value": "v"} for number in range(11)}

    replayed(wrapped(SINCE, MessageAttributes=many))

    (message,) = messages("target")
    assert "MessageAttributes" not in message


def test_a_queue_without_raw_message_delivery_gets_the_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAW_MESSAGE_DELIVERY", "false")

    replayed(wrapped(SINCE))

    assert bodies("target") == [wrapped(SINCE)]


def test_a_topic_gets_the_attributes_that_its_subscriptions_filter_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sns, sqs = boto3.client("sns"), boto3.client("sqs")
    topic = sns.create_topic(Name="again")["TopicArn"]
    sqs.create_queue(QueueName="subscriber")
    sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint="arn:aws:sqs:us-east-1:123456789012:subscriber",
        Attributes={"FilterPolicy": json.dumps({"event": ["execution.failed"]})},
    )
    monkeypatch.setenv("TARGET_ARN", topic)

    replayed(wrapped(SINCE, message="again", Subject="news"), wrapped(SINCE, MessageAttributes={}))

    (body,) = bodies("subscriber")
    assert (json.loads(body)["Message"], json.loads(body)["Subject"]) == ("again", "news")


def test_a_function_is_invoked_as_a_topic_would_invoke_it(monkeypatch: pytest.MonkeyPatch) -> None:
    invoked: list[dict[str, Any]] = []

    class Lambdas:
        def invoke(self, **request: Any) -> None:
            invoked.append(request)

    monkeypatch.setattr(invocations, "lambdas", Lambdas)
    monkeypatch.setenv("TARGET_ARN", "arn:aws:lambda:us-east-1:123456789012:function:mine")

    replayed(wrapped(SINCE, message="m", SigningCertURL="https://cert.example"))

    (call,) = invoked
    assert call["FunctionName"].endswith(":mine")
    assert call["InvocationType"] == "Event"
    (record,) = json.loads(call["Payload"])["Records"]
    assert record["EventSource"] == "aws:sns"
    assert record["Sns"]["Message"] == "m"
    assert record["Sns"]["SigningCertUrl"] == "https://cert.example"


def failing_once(method: Callable[..., Any], answer: Any) -> Callable[..., Any]:
    calls: list[int] = []

    def call(**request: Any) -> Any:
        calls.append(1)
        return answer if len(calls) == 1 else method(**request)

    return call


def test_an_event_that_cannot_be_put_aside_fails_the_batch_and_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = {"Successful": [], "Failed": [{"Id": "0", "Code": "InternalError"}]}
    client = aws.sqs()
    monkeypatch.setattr(client, "send_message_batch", failing_once(client.send_message_batch, refused))

    with pytest.raises(AwsCallFailed, match="not set aside"):
        replayed(wrapped(SINCE))
    assert bodies("aside") == []
    replayed(wrapped(SINCE))

    assert bodies("aside") == [wrapped(SINCE)]
    assert len(bodies("target")) == 2


def test_a_missing_target_fails_the_batch_before_anything_is_put_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TARGET_ARN", "arn:aws:sqs:us-east-1:123456789012:none")

    with pytest.raises(AwsCallFailed):
        replayed(wrapped(SINCE))

    assert bodies("aside") == []


def test_more_events_than_one_sqs_batch_are_put_aside_in_parts() -> None:
    events = [wrapped("2026-11-01T00:00:00Z", message=str(number)) for number in range(23)]
    events += [wrapped("2026-11-01T00:00:00Z", message="x" * 200_000) for _ in range(3)]

    replayed(*events)

    assert sorted(bodies("aside")) == sorted(events)
