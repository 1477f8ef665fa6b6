"""How the events of a time range are sent to a target again: a queue, a topic or a function.

The queue of the last days' events is read to its end. Each event of the range goes to the target. Then every
event, of the range or not, goes to another queue, from which all are moved back in the end. So a replay
removes nothing, and may be repeated.

Delivery is at least once: if something fails, SQS delivers the whole batch again, and some of it reaches the
target twice. SQS itself puts aside what fails again and again.
"""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from jobmanager.aws.clients import lambdas, sns, sqs
from jobmanager.core.clock import ms_of_iso
from jobmanager.core.errors import AwsCallFailed
from jobmanager.core.settings import setting
from jobmanager.runtime.logs import logger

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef

type Json = dict[str, Any]

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
MOST_IN_A_BATCH = 10
MOST_BYTES_OF_A_BATCH = 256 * 1024
# SQS takes no more with a message, and SNS hands on none of them if there are more.
# https://docs.aws.amazon.com/sns/latest/dg/sns-large-payload-raw-message-delivery.html
MOST_ATTRIBUTES = 10


def replay(bodies: Sequence[str]) -> int:
    """Sends what is of the range to the target, then puts all aside; answers how many were sent."""
    since_ms, until_ms = ms_of_iso(setting("REPLAY_SINCE")), ms_of_iso(setting("REPLAY_UNTIL"))
    send = SENDERS[setting("TARGET_ARN").split(":")[2]]
    sent = 0
    for body in bodies:
        envelope = published(body)
        if envelope is not None and since_ms <= ms_of_iso(envelope["Timestamp"]) < until_ms:
            send(envelope, body)
            sent += 1
    put_aside(bodies)
    return sent


def published(body: str) -> Json | None:
    """The message as SNS wrapped it; None for what did not come from a topic, which is only put aside."""
    try:
        envelope: Json = json.loads(body)
        ms_of_iso(envelope["Timestamp"])
        _ = envelope["Message"]
    except (ValueError, KeyError, TypeError):
        logger.warning("not an event of a topic", extra={"length": len(body)})
        return None
    return envelope


def send_to_queue(envelope: Json, body: str) -> None:
    """As the topic would: raw, with the attributes, or in the wrapping."""
    url = queue_url(setting("TARGET_ARN"))
    if setting("RAW_MESSAGE_DELIVERY") == "false":
        sqs().send_message(QueueUrl=url, MessageBody=body)
        return
    found = attributes(envelope)
    carried = found if len(found) <= MOST_ATTRIBUTES else {}
    sqs().send_message(QueueUrl=url, MessageBody=envelope["Message"], MessageAttributes=carried)


def send_to_topic(envelope: Json, _body: str) -> None:
    """With its attributes, by which the topic's subscriptions filter, and its subject."""
    subject = {"Subject": envelope["Subject"]} if envelope.get("Subject") else {}
    sns().publish(
        TopicArn=setting("TARGET_ARN"),
        Message=envelope["Message"],
        MessageAttributes=attributes(envelope),
        **subject,
    )


def send_to_function(envelope: Json, _body: str) -> None:
    """As a topic would, without waiting: Lambda tries again what fails.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html
    """
    named_for_lambda = {"SigningCertURL": "SigningCertUrl", "UnsubscribeURL": "UnsubscribeUrl"}
    message = {named_for_lambda.get(name, name): value for name, value in envelope.items()}
    record = {"EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": "", "Sns": message}
    lambdas().invoke(
        FunctionName=setting("TARGET_ARN"),
        InvocationType="Event",
        Payload=json.dumps({"Records": [record]}).encode(),
    )


SENDERS: dict[str, Callable[[Json, str], None]] = {
    "sqs": send_to_queue,
    "sns": send_to_topic,
    "lambda": send_to_function,
}


def attributes(envelope: Json) -> dict[str, "MessageAttributeValueTypeDef"]:
    """The message attributes, as SQS and SNS take them."""
    found: dict[str, MessageAttributeValueTypeDef] = {}
    for name, attribute in envelope.get("MessageAttributes", {}).items():
        if attribute["Type"] == "Binary":
            found[name] = {"DataType": "Binary", "BinaryValue": base64.b64decode(attribute["Value"])}
        else:
            found[name] = {"DataType": attribute["Type"], "StringValue": attribute["Value"]}
    return found


def put_aside(bodies: Sequence[str]) -> None:
    """Keeps the messages in the other queue; raises AwsCallFailed if one was not taken."""
    for batch in batches(bodies):
        answer = sqs().send_message_batch(
            QueueUrl=setting("ASIDE_QUEUE_URL"),
            Entries=[{"Id": str(number), "MessageBody": body} for number, body in enumerate(batch)],
        )
        if answer.get("Failed"):
            raise AwsCallFailed(f"not put aside: {answer['Failed']}")


def batches(bodies: Sequence[str]) -> Iterator[list[str]]:
    """The messages, in order, in what SQS takes at once."""
    batch: list[str] = []
    size = 0
    for body in bodies:
        length = len(body.encode())
        if batch and (len(batch) == MOST_IN_A_BATCH or size + length > MOST_BYTES_OF_A_BATCH):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += length
    if batch:
        yield batch


@cache
def queue_url(arn: str) -> str:
    """Where the queue is reached."""
    account_id, name = arn.split(":")[4:6]
    return sqs().get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account_id)["QueueUrl"]
