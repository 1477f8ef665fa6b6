"""Replays the events of a time range to a target: a queue, a topic or a function.

The queue with the events of the last days is read to its end. Each event of the range is sent to the target.
Every event, in the range or not, is then set aside in a second queue, and at the end all are moved back. So a
replay removes nothing, and is safe to repeat.

Delivery is at least once: if something fails, SQS delivers the whole batch again, and some events reach the
target twice. A message that fails again and again goes to the dead-letter queue.
"""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from jobmanager.aws.clients import sns, sqs
from jobmanager.aws.invocations import invoke_later
from jobmanager.core.clock import ms_of_iso
from jobmanager.core.errors import AwsCallFailed
from jobmanager.core.settings import setting
from jobmanager.runtime.logs import logger

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef

type Json = dict[str, Any]

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
MAX_IN_A_BATCH = 10
MAX_BYTES_OF_A_BATCH = 256 * 1024
# SQS accepts no more on a message, and SNS passes on none if there are more.
# https://docs.aws.amazon.com/sns/latest/dg/sns-large-payload-raw-message-delivery.html
MAX_ATTRIBUTES = 10


def replay(bodies: Sequence[str]) -> int:
    """Sends the events of the range to the target, then sets all aside; returns how many were sent."""
    since_ms, until_ms = ms_of_iso(setting("REPLAY_SINCE")), ms_of_iso(setting("REPLAY_UNTIL"))
    send = SENDERS[setting("TARGET_ARN").split(":")[2]]
    sent = 0
    for body in bodies:
        envelope = envelope_of(body)
        if envelope is not None and since_ms <= ms_of_iso(envelope["Timestamp"]) < until_ms:
            send(envelope, body)
            sent += 1
    set_aside(bodies)
    return sent


def envelope_of(body: str) -> Json | None:
    """Parses SNS's envelope of a message; None if it did not come from a topic, and is only set aside."""
    try:
        envelope: Json = json.loads(body)
        ms_of_iso(envelope["Timestamp"])
        _ = envelope["Message"]
    except (ValueError, KeyError, TypeError):
        logger.warning(
            "message was not replayed, because it did not come from a topic", extra={"length": len(body)}
        )
        return None
    return envelope


def send_to_queue(envelope: Json, body: str) -> None:
    """Sends an event as the topic would: raw with its attributes, or in its envelope."""
    url = queue_url(setting("TARGET_ARN"))
    if setting("RAW_MESSAGE_DELIVERY") == "false":
        sqs().send_message(QueueUrl=url, MessageBody=body)
        return
    found = attributes(envelope)
    passed = found if len(found) <= MAX_ATTRIBUTES else {}
    sqs().send_message(QueueUrl=url, MessageBody=envelope["Message"], MessageAttributes=passed)


def send_to_topic(envelope: Json, _body: str) -> None:
    """Publishes an event with its subject and the attributes by which the topic's subscriptions filter."""
    subject = {"Subject": envelope["Subject"]} if envelope.get("Subject") else {}
    sns().publish(
        TopicArn=setting("TARGET_ARN"),
        Message=envelope["Message"],
        MessageAttributes=attributes(envelope),
        **subject,
    )


def send_to_function(envelope: Json, _body: str) -> None:
    """Invokes a function as a topic would: asynchronously, so Lambda retries a failure.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html
    """
    named_for_lambda = {"SigningCertURL": "SigningCertUrl", "UnsubscribeURL": "UnsubscribeUrl"}
    message = {named_for_lambda.get(name, name): value for name, value in envelope.items()}
    record = {"EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": "", "Sns": message}
    invoke_later(setting("TARGET_ARN"), {"Records": [record]})


SENDERS: dict[str, Callable[[Json, str], None]] = {
    "sqs": send_to_queue,
    "sns": send_to_topic,
    "lambda": send_to_function,
}


def attributes(envelope: Json) -> dict[str, "MessageAttributeValueTypeDef"]:
    """Converts the message attributes of an envelope to the form that SQS and SNS accept."""
    found: dict[str, MessageAttributeValueTypeDef] = {}
    for name, attribute in envelope.get("MessageAttributes", {}).items():
        if attribute["Type"] == "Binary":
            found[name] = {"DataType": "Binary", "BinaryValue": base64.b64decode(attribute["Value"])}
        else:
            found[name] = {"DataType": attribute["Type"], "StringValue": attribute["Value"]}
    return found


def set_aside(bodies: Sequence[str]) -> None:
    """Sends the messages to the second queue; raises AwsCallFailed if one was not accepted."""
    for batch in batches(bodies):
        answer = sqs().send_message_batch(
            QueueUrl=setting("ASIDE_QUEUE_URL"),
            Entries=[{"Id": str(number), "MessageBody": body} for number, body in enumerate(batch)],
        )
        if answer.get("Failed"):
            raise AwsCallFailed(f"some messages were not set aside: {answer['Failed']}")


def batches(bodies: Sequence[str]) -> Iterator[list[str]]:
    """Splits the messages, in order, into batches that SQS accepts."""
    batch: list[str] = []
    size = 0
    for body in bodies:
        length = len(body.encode())
        if batch and (len(batch) == MAX_IN_A_BATCH or size + length > MAX_BYTES_OF_A_BATCH):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += length
    if batch:
        yield batch


@cache
def queue_url(arn: str) -> str:
    """Returns the URL of a queue."""
    account_id, name = arn.split(":")[4:6]
    return sqs().get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account_id)["QueueUrl"]
