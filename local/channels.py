"""The two channels by which a notification reaches a service: an SQS queue on the SNS topic, a webhook."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import boto3
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 1024


class QueueListener:
    """A queue that is subscribed to a topic, for the messages that match a filter policy.

    `deliver` gets each message and its X-Ray trace header, if it has one. The queue and the subscription
    exist from start() to stop(). In a real service, define both in Terraform, with a dead-letter queue.
    Only the polling is code.
    """

    def __init__(
        self,
        topic_arn: str,
        filter_policy: Mapping[str, list[str]],
        deliver: Callable[[dict[str, Any], str | None], object],
        *,
        queue_name: str = "listener",
        long_poll_seconds: int = 2,
    ) -> None:
        self._topic_arn = topic_arn
        self._filter_policy = dict(filter_policy)
        self._deliver = deliver
        # Service names may have dots, queue names may not.
        self._queue_name = f"{re.sub('[^A-Za-z0-9_-]', '-', queue_name)[:60]}-{uuid.uuid4().hex[:8]}"
        self._long_poll_seconds = long_poll_seconds
        self._sns = boto3.client("sns")
        self._sqs = boto3.client("sqs")
        self._queue_url = ""
        self._subscription_arn = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name=self._queue_name, daemon=True)

    def start(self) -> None:
        """Create the queue, subscribe it, and poll it in a thread."""
        self._queue_url = self._sqs.create_queue(QueueName=self._queue_name)["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=["QueueArn"])
        queue_arn = attributes["Attributes"]["QueueArn"]
        self._sqs.set_queue_attributes(
            QueueUrl=self._queue_url,
            Attributes={"Policy": json.dumps(_let_topic_send(self._topic_arn, queue_arn))},
        )
        self._subscription_arn = self._sns.subscribe(
            TopicArn=self._topic_arn,
            Protocol="sqs",
            Endpoint=queue_arn,
            Attributes={"RawMessageDelivery": "true", "FilterPolicy": json.dumps(self._filter_policy)},
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        self._thread.start()

    def stop(self) -> None:
        """Stop polling, unsubscribe, and delete the queue."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._long_poll_seconds + 3)
        try:
            if self._subscription_arn:
                self._sns.unsubscribe(SubscriptionArn=self._subscription_arn)
            if self._queue_url:
                self._sqs.delete_queue(QueueUrl=self._queue_url)
        except (BotoCoreError, ClientError) as error:
            logger.warning("queue %s was not deleted: %s", self._queue_name, error)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _poll(self) -> None:
        while not self._stopping.is_set():
            try:
                answer = self._sqs.receive_message(
                    QueueUrl=self._queue_url,
                    MaxNumberOfMessages=10,
                    WaitTimeSeconds=self._long_poll_seconds,
                    MessageSystemAttributeNames=["AWSTraceHeader"],
                )
                for message in answer.get("Messages", []):
                    self._handle(message)
            except (BotoCoreError, ClientError) as error:
                if not self._stopping.wait(1):
                    logger.warning("cannot poll %s: %s", self._queue_name, error)

    def _handle(self, message: MessageTypeDef) -> None:
        # Delete a message only after its delivery. After a crash between the two, SQS delivers it again. A
        # duplicate is harmless, a lost message is not.
        try:
            trace_header = message.get("Attributes", {}).get("AWSTraceHeader")
            self._deliver(json.loads(message["Body"]), trace_header)
        except Exception:
            logger.exception("message %s was not handled; SQS delivers it again", message["MessageId"])
            return
        self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])


@dataclass(frozen=True)
class Webhook:
    """A notification by webhook, with the headers and the bytes of its signature. Names are in lower case."""

    notification: dict[str, Any]
    headers: dict[str, str]
    content: bytes

    @property
    def trace_header(self) -> str | None:
        """X-Ray's trace header, if the webhook has one."""
        return self.headers.get("x-amzn-trace-id")


@dataclass(frozen=True)
class Answer:
    """The answer to a webhook. The body of a sync job's answer is its result."""

    status: int
    body: dict[str, Any] | None = None


class Server(ThreadingHTTPServer):
    """An HTTP server for many concurrent callers. Further connections wait until it accepts them."""

    daemon_threads = True
    request_queue_size = 128


class WebhookListener:
    """An HTTP server on the loopback interface that accepts notifications at POST /jobs/<anything>.

    `deliver` returns the answer to the manager. Unless the job is sync, it must answer at once: the manager
    waits 10 seconds, then retries.
    """

    def __init__(self, deliver: Callable[[Webhook], Answer], *, port: int = 0) -> None:
        handler = type("Handler", (_WebhookHandler,), {"deliver": staticmethod(deliver)})
        self._server = Server(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The server's URL. Append /jobs/<anything>."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        """Serve in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting webhooks, and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _WebhookHandler(BaseHTTPRequestHandler):
    deliver: Callable[[Webhook], Answer]
    timeout = 10

    def do_POST(self) -> None:
        if not self.path.startswith("/jobs/"):
            self._answer(Answer(HTTPStatus.NOT_FOUND))
            return
        try:
            length = int(self.headers.get("Content-Length", ""))
            if not 0 <= length <= MAX_BODY_BYTES:
                raise ValueError(f"a body of {length} bytes")
            content = self.rfile.read(length)
            notification = json.loads(content)
            if not isinstance(notification, dict):
                raise TypeError("not a JSON object")
        except (ValueError, TypeError) as error:
            logger.warning("not a notification: %s", error)
            self._answer(Answer(HTTPStatus.BAD_REQUEST))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.deliver(Webhook(notification, headers, content))
        with contextlib.suppress(ConnectionError):  # the manager has stopped waiting
            self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        body = b"" if answer.body is None else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        if body:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)


def _let_topic_send(topic_arn: str, queue_arn: str) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "NotificationsFromTopic",
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue_arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
            }
        ],
    }
