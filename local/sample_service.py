"""A service whose jobs are started by the manager. Needs the project's Python package and boto3.

    pip install ./sjm boto3
    python local/sample_service.py --service-name billing

It is notified over SNS or by webhook. `sjm.receiver` does what every service must: it verifies webhooks,
drops duplicates, answers before it works, and repeats results. Read `SampleService.handle` first. Put your
own work in the place of `perform`.

This service sends heartbeats only where its work says so, and may stay silent, because the demo and the tests
show what follows from that. A service of yours needs neither `Callbacks` nor `HANDED_OVER`: its handlers get
the run and return the result, and the receiver sends heartbeats by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Literal, Self

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from sjm.receiver import (
    HANDED_OVER,
    Answer,
    CallbackAnswer,
    Failure,
    HandedOver,
    MemorySeen,
    OutOfTime,
    Receiver,
    Run,
    Stopped,
    Success,
)

logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 256 * 1024
# Each may wait for something, so there are as many as a crowd of the demo needs.
MOST_RUNS_AT_ONCE: Final = 4096

Notification = dict[str, Any]
Pause = Callable[[float], bool]
"""Waits for that many seconds. Returns False if the service is about to stop."""
Channel = Literal["sns", "http"]
Outcome = Literal["taken", "repeated", "tested", "refused"]

_OUTCOMES: Final[dict[str, Outcome]] = {
    "accepted": "taken",
    "finished": "taken",
    "duplicate": "repeated",
    "tested": "tested",
    "busy": "refused",
    "refused": "refused",
}


@dataclass(frozen=True)
class Received:
    """A notification that arrived, and its outcome. `webhook` is set if it arrived by webhook.

    `trace_header` is X-Ray's: a traced service makes its segment below it.
    """

    arrived_at: float
    channel: Channel
    notification: Notification
    outcome: Outcome
    webhook: Webhook | None = None
    trace_header: str | None = None

    @property
    def job_name(self) -> str:
        """The notification's job."""
        return str(self.notification["job_name"])

    @property
    def latency_seconds(self) -> float:
        """Seconds from the tick's nominal time to the arrival."""
        return self.arrived_at - float(self.notification["scheduled_time_ms"]) / 1000


@dataclass(frozen=True)
class Called:
    """A callback and its answer."""

    sent_at: float
    notification: Notification
    body: dict[str, Any]
    answer: CallbackAnswer

    @property
    def job_name(self) -> str:
        """The callback's job."""
        return str(self.notification["job_name"])


class SampleService:
    """One running service. Without a topic it listens only for webhooks.

    `on_event` gets each notification and each callback, for a log.
    """

    def __init__(
        self,
        service_name: str,
        notifications_topic_arn: str | None = None,
        *,
        port: int = 0,
        on_event: Callable[[Received | Called], None] | None = None,
        work: Callable[[Notification, Callbacks, Pause], None] | None = None,
    ) -> None:
        self.service_name = service_name
        self._work = work or perform
        self._on_event = on_event
        self._stopping = threading.Event()
        self._recording = threading.RLock()
        self._seen = MemorySeen()
        self._receivers = [self._receiver(secrets=None, allow_unsigned=True)]
        self._webhooks = WebhookListener(self.answer, port=port)
        self._queue = notifications_topic_arn and QueueListener(
            notifications_topic_arn,
            {"service_name": [service_name]},
            lambda notification, trace_header: self.take(notification, "sns", trace_header=trace_header),
            queue_name=f"{service_name}-notifications",
        )

    def handle(self, run: Run) -> Success | Failure | HandedOver:
        """Do one job. What it returns is the result. An exception is a failure."""
        with self._recording:  # its notification is recorded before its callbacks
            pass
        if run.is_sync:
            return perform_now(dict(run.notification), self._pause)
        callbacks = Callbacks(run)
        self._work(dict(run.notification), callbacks, self._pause)
        return callbacks.result or HANDED_OVER  # without a result it stays silent

    def start(self) -> None:
        """Listen for webhooks and poll the queue."""
        self._webhooks.start()
        if self._queue:
            self._queue.start()

    def stop(self) -> None:
        """Stop listening, abandon running work, and delete the queue."""
        self._stopping.set()
        self._webhooks.stop()
        if self._queue:
            self._queue.stop()
        for receiver in self._receivers:
            receiver.close(timeout_seconds=0, grace_seconds=0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def webhook_url(self, job_name: str) -> str:
        """The invocation_target to register for a job."""
        return f"{self._webhooks.url}/jobs/{job_name}"

    def trust_only(self, webhook_secret: str) -> None:
        """From now on, reject webhooks that are not signed with this secret. The manager's API creates it."""
        self._receivers.append(self._receiver(secrets=[webhook_secret]))

    def take(
        self,
        notification: Notification,
        channel: Channel,
        webhook: Webhook | None = None,
        trace_header: str | None = None,
    ) -> None:
        """Take a job and return at once. The job runs in a thread. Raises RuntimeError if it is not taken."""
        with self._recording:
            answer = self._receivers[-1].take(notification, trace_header=trace_header)
            if answer.status >= 300:
                raise RuntimeError(answer.body.decode())
            self._record(
                Received(time.time(), channel, notification, _OUTCOMES[answer.outcome], webhook, trace_header)
            )

    def answer(self, webhook: Webhook) -> Answer:
        """Answer a webhook: at once, or with the result of a sync job."""
        is_sync = webhook.notification.get("async") is False and not webhook.notification.get("test")
        # The work of a sync job may take a minute, so it does not hold up the records of the others.
        with contextlib.nullcontext() if is_sync else self._recording:
            arrived_at = time.time()
            answer = self._receivers[-1].receive(webhook.content, webhook.headers)
            outcome = _OUTCOMES[answer.outcome]
            self._record(
                Received(arrived_at, "http", webhook.notification, outcome, webhook, webhook.trace_header)
            )
        return answer

    def refuse(self, webhook: Webhook, status: int) -> Answer:
        """Answer a webhook with an error."""
        self._record(
            Received(time.time(), "http", webhook.notification, "refused", webhook, webhook.trace_header)
        )
        return Answer(status, "refused")

    def _receiver(self, **trust: Any) -> Receiver:
        receiver = Receiver(
            seen=self._seen, workers=MOST_RUNS_AT_ONCE, on_callback=self._record_callback, **trust
        )
        receiver.job("*", heartbeat="progress")(self.handle)
        return receiver

    def _record_callback(
        self, notification: Mapping[str, Any], body: Mapping[str, Any], answer: CallbackAnswer
    ) -> None:
        self._record(Called(time.time(), dict(notification), dict(body), answer))

    def _pause(self, seconds: float) -> bool:
        return not self._stopping.wait(seconds)

    def _record(self, event: Received | Called) -> None:
        if self._on_event:
            self._on_event(event)


class Callbacks:
    """What the work of a job reports. The receiver sends it, and repeats a result until it is answered."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.result: Success | Failure | None = None

    def heartbeat(self, progress: float | None = None) -> CallbackAnswer:
        """Report that the job is alive and, from 0 to 100, its progress. 410 means: stop working."""
        try:
            return self._run.heartbeat(progress) or CallbackAnswer(200)
        except (Stopped, OutOfTime) as over:
            return CallbackAnswer(410, {"detail": str(over)})

    def success(
        self, *, summary: str | None = None, state: str | None = None, correlation_id: str | None = None
    ) -> None:
        """Report, when the work returns, that the job is done. The next run continues from `state`."""
        self.result = Success(state, summary, correlation_id)

    def fail(self, error: str | dict[str, Any], *, summary: str | None = None) -> None:
        """Report, when the work returns, that the job failed, and why."""
        self.result = Failure(error, summary)


def perform(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
    """Do what the job's payload says. Your own work belongs here.

    {"do": "succeed", "seconds": 4, "heartbeats": 2, "summary": "…", "state": "cursor-42"}
    {"do": "succeed", "advance": 40}       state = the state of the last success + 40
    {"do": "fail", "error": "…", "seconds": 1}
    {"do": "heartbeat_forever", "every": 2}
    {"do": "silent"}                       takes the job and never calls back

    Any other payload succeeds at once.
    """
    behaviour = _parse(notification.get("payload"))
    match behaviour.get("do", "succeed"):
        case "succeed":
            if _work(behaviour, callbacks, pause):
                _succeed(behaviour, notification, callbacks)
        case "fail":
            if _work(behaviour, callbacks, pause):
                callbacks.fail(
                    behaviour.get("error", "the payload says fail"), summary=behaviour.get("summary")
                )
        case "heartbeat_forever":
            _heartbeat_forever(behaviour, notification, callbacks, pause)
        case "silent":
            pass
        case unknown:
            callbacks.fail(f"the sample service has no behaviour {unknown!r}")


def perform_now(notification: Notification, pause: Pause) -> Success | Failure:
    """Do what the payload of a sync job says. The result is the answer to its webhook."""
    behaviour = _parse(notification.get("payload"))
    pause(float(behaviour.get("seconds", 0)))
    if behaviour.get("do", "succeed") != "succeed":
        return Failure(behaviour.get("error", "the payload says fail"))
    return Success(behaviour.get("state"), behaviour.get("summary"))


def _work(behaviour: dict[str, Any], callbacks: Callbacks, pause: Pause) -> bool:
    """Work for a while, with evenly spaced heartbeats. Returns False if the work must stop."""
    heartbeats = int(behaviour.get("heartbeats", 0))
    step_seconds = float(behaviour.get("seconds", 0)) / (heartbeats + 1)
    for step in range(1, heartbeats + 1):
        if not pause(step_seconds):
            return False
        if callbacks.heartbeat(progress=round(100 * step / (heartbeats + 1))).is_gone:
            return False
    return pause(step_seconds)


def _succeed(behaviour: dict[str, Any], notification: Notification, callbacks: Callbacks) -> None:
    summary, state = behaviour.get("summary"), behaviour.get("state")
    if "advance" in behaviour:
        last = int(notification["last_successful_execution"].get("state") or 0)
        state = str(last + int(behaviour["advance"]))
        summary = f"{summary or 'items'} {last + 1} to {state}"
    callbacks.success(summary=summary, state=state)


def _heartbeat_forever(
    behaviour: dict[str, Any], notification: Notification, callbacks: Callbacks, pause: Pause
) -> None:
    every = float(behaviour.get("every") or notification["heartbeat_interval_seconds"] / 2)
    while pause(every):
        if callbacks.heartbeat().is_gone:
            return


def _parse(payload: object) -> dict[str, Any]:
    try:
        behaviour = json.loads(payload) if isinstance(payload, str) else None
    except ValueError:
        behaviour = None
    return behaviour if isinstance(behaviour, dict) else {}


@dataclass(frozen=True)
class Webhook:
    """A notification by webhook, with its signed content. Header names are in lower case."""

    notification: dict[str, Any]
    headers: dict[str, str]
    content: bytes

    @property
    def trace_header(self) -> str | None:
        """X-Ray's trace header, if there is one."""
        return self.headers.get("x-amzn-trace-id")


class Server(ThreadingHTTPServer):
    """An HTTP server for many connections at once. Further connections wait until it accepts them."""

    daemon_threads = True
    request_queue_size = 128


class WebhookListener:
    """An HTTP server on the loopback interface that accepts notifications at POST /jobs/<anything>.

    `deliver` returns the answer. It must return at once, unless the job is a sync job: the manager waits 10
    seconds and then sends the webhook again.
    """

    def __init__(self, deliver: Callable[[Webhook], Answer], *, port: int = 0) -> None:
        handler = type("Handler", (_WebhookHandler,), {"deliver": staticmethod(deliver)})
        self._server = Server(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The listener's URL; append /jobs/<anything>."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        """Serve in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Accept no more webhooks, and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _WebhookHandler(BaseHTTPRequestHandler):
    deliver: Callable[[Webhook], Answer]
    timeout = 10

    def do_POST(self) -> None:
        if not self.path.startswith("/jobs/"):
            self._answer(Answer(HTTPStatus.NOT_FOUND, "refused"))
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
            self._answer(Answer(HTTPStatus.BAD_REQUEST, "refused"))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.deliver(Webhook(notification, headers, content))
        with contextlib.suppress(ConnectionError):  # the manager no longer waits
            self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)


class QueueListener:
    """A queue that is subscribed to a topic with a filter policy.

    `deliver` gets each message and its X-Ray trace header, if there is one. start() creates the queue and the
    subscription, and stop() deletes them. In a real service both belong in its Terraform, with a dead-letter
    queue, and only the polling is code.
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
        # A queue's name cannot contain dots, but a service's name can.
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

    def _handle(self, message: Any) -> None:
        # Delete the message after its delivery, never before: if the service crashes between the two, SQS
        # delivers the message again, and a duplicate is harmless.
        try:
            trace_header = message.get("Attributes", {}).get("AWSTraceHeader")
            self._deliver(json.loads(message["Body"]), trace_header)
        except Exception:
            logger.exception("cannot deliver message %s; SQS will deliver it again", message["MessageId"])
            return
        self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])


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


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A service that does what a job's payload says.")
    parser.add_argument("--service-name", default="billing")
    parser.add_argument("--port", type=int, default=0, help="port of the webhook; default: any free port")
    parser.add_argument(
        "--topic-arn", help="notifications topic; default: the topic in $STAGE_OUTPUTS, if any"
    )
    arguments = parser.parse_args()
    topic_arn = arguments.topic_arn
    if not topic_arn and "STAGE_OUTPUTS" in os.environ:
        topic_arn = json.loads(Path(os.environ["STAGE_OUTPUTS"]).read_text())["notifications_topic_arn"]
    with SampleService(
        arguments.service_name, topic_arn, port=arguments.port, on_event=_print_event
    ) as service:
        print(f"webhooks: {service.webhook_url('<job_name>')}")
        print(f"SNS:      {topic_arn or 'no topic given'}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopping")


def _print_event(event: Received | Called) -> None:
    if isinstance(event, Received):
        print(f"{event.job_name}: {event.outcome}, by {event.channel}", flush=True)
    else:
        print(f"{event.job_name}: {json.dumps(event.body)} -> {event.answer.status}", flush=True)


if __name__ == "__main__":
    main()
