"""A service whose jobs are started by the manager. Copy this file: it needs only Python and boto3.

    python sample_service.py --service-name billing

It is notified over SNS or by webhook, answers at once, works in a thread, sends heartbeats meanwhile, and
calls back with the result. Read `SampleService.take` first. Put your own work in the place of `perform`.

Notifications are delivered at least once: SQS may deliver a message twice, and the manager repeats a webhook
whose 202 was lost. So the service remembers each attempt that it has taken and ignores a duplicate. It still
answers the duplicate with 202, because otherwise the manager would repeat it. A service on several machines
remembers the attempts in its database, in the transaction that does the work.

With a secret, the service rejects webhooks that are not signed with it. For an exclusive job, store the
`fencing_token` with your data, and refuse to write with a lower token.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import hmac
import json
import logging
import os
import re
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Self

import boto3
from botocore.exceptions import BotoCoreError, ClientError

logger = logging.getLogger(__name__)

NOBODY_ANSWERED = 0
MAX_BODY_BYTES = 256 * 1024
TOLERANCE_SECONDS = 300

Notification = dict[str, Any]
Pause = Callable[[float], bool]
"""Waits for that many seconds. Returns False if the service is about to stop."""
Channel = Literal["sns", "http"]
Outcome = Literal["taken", "repeated", "tested", "refused"]


def is_genuine(secret: str, headers: Mapping[str, str], content: bytes, now_seconds: float) -> bool:
    """Whether a webhook was signed with this secret (`whsec_…`) in the last five minutes.

    While secrets are rotated, a webhook has several signatures. An older webhook may be a replay. The library
    `standardwebhooks` does the same in most languages.
    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(now_seconds - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join((webhook_id.encode(), timestamp.encode(), content))
    expected = f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"
    found = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(expected.encode(), each.encode()) for each in found)


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
        self._lock = threading.Lock()
        self._taken: set[tuple[str, int]] = set()
        self._webhook_secret: str | None = None
        self._stopping = threading.Event()
        self._webhooks = WebhookListener(self.answer, port=port)
        self._queue = notifications_topic_arn and QueueListener(
            notifications_topic_arn,
            {"service_name": [service_name]},
            lambda notification, trace_header: self.take(notification, "sns", trace_header=trace_header),
            queue_name=f"{service_name}-notifications",
        )

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
        self._webhook_secret = webhook_secret

    def take(
        self,
        notification: Notification,
        channel: Channel,
        webhook: Webhook | None = None,
        trace_header: str | None = None,
    ) -> None:
        """Take a job and return at once. The job runs in its own thread."""
        if notification.get("test"):  # the manager only tests whether the service listens: there is no job
            self._record(Received(time.time(), channel, notification, "tested", webhook, trace_header))
            return
        execution_id = notification["execution_id"]
        attempt = (execution_id, notification.get("attempt", 1))
        with self._lock:
            repeated = attempt in self._taken
            self._taken.add(attempt)
        outcome: Outcome = "repeated" if repeated else "taken"
        self._record(Received(time.time(), channel, notification, outcome, webhook, trace_header))
        if not repeated:
            work = threading.Thread(
                target=self._run, args=(notification, trace_header), name=execution_id, daemon=True
            )
            work.start()

    def answer(self, webhook: Webhook) -> Answer:
        """Answer a webhook: at once, or with the result of a sync job."""
        secret = self._webhook_secret
        if secret and not is_genuine(secret, webhook.headers, webhook.content, time.time()):
            return self.refuse(webhook, HTTPStatus.UNAUTHORIZED)
        notification, trace_header = webhook.notification, webhook.trace_header
        if notification.get("async", True) or notification.get("test"):
            self.take(notification, "http", webhook, trace_header)
            return Answer(HTTPStatus.ACCEPTED)
        self._record(Received(time.time(), "http", notification, "taken", webhook, trace_header))
        return perform_now(notification, self._pause)

    def refuse(self, webhook: Webhook, status: int) -> Answer:
        """Answer a webhook with an error."""
        self._record(
            Received(time.time(), "http", webhook.notification, "refused", webhook, webhook.trace_header)
        )
        return Answer(status)

    def _run(self, notification: Notification, trace_header: str | None) -> None:
        callbacks = Callbacks(
            notification["callback_url"],
            trace_header=trace_header,
            on_callback=lambda body, answer: self._record(Called(time.time(), notification, body, answer)),
            sleep=self._pause,
        )
        try:
            self._work(notification, callbacks, self._pause)
        except Exception as error:
            logger.exception("job %s failed", notification["job_name"])
            callbacks.fail(f"{type(error).__name__}: {error}")

    def _pause(self, seconds: float) -> bool:
        return not self._stopping.wait(seconds)

    def _record(self, event: Received | Called) -> None:
        if self._on_event:
            self._on_event(event)


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


def perform_now(notification: Notification, pause: Pause) -> Answer:
    """Do what the payload of a sync job says, and return the result as the answer to its webhook."""
    behaviour = _parse(notification.get("payload"))
    pause(float(behaviour.get("seconds", 0)))
    if behaviour.get("do", "succeed") != "succeed":
        return Answer(
            HTTPStatus.UNPROCESSABLE_ENTITY, {"error": behaviour.get("error", "the payload says fail")}
        )
    return Answer(
        HTTPStatus.OK, {name: behaviour[name] for name in ("summary", "state") if name in behaviour}
    )


def _work(behaviour: dict[str, Any], callbacks: Callbacks, pause: Pause) -> bool:
    """Work for a while, with evenly spaced heartbeats. Returns False if the work must stop."""
    heartbeats = int(behaviour.get("heartbeats", 0))
    step_seconds = float(behaviour.get("seconds", 0)) / (heartbeats + 1)
    for step in range(1, heartbeats + 1):
        if not pause(step_seconds):
            return False
        if callbacks.heartbeat(progress=round(100 * step / (heartbeats + 1))).status == 410:
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
        if callbacks.heartbeat().status == 410:
            return


def _parse(payload: object) -> dict[str, Any]:
    try:
        behaviour = json.loads(payload) if isinstance(payload, str) else None
    except ValueError:
        behaviour = None
    return behaviour if isinstance(behaviour, dict) else {}


@dataclass(frozen=True)
class CallbackAnswer:
    """The manager's answer. The status is NOBODY_ANSWERED if the manager could not be reached."""

    status: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the manager took the callback."""
        return self.status == 200

    @property
    def worth_repeating(self) -> bool:
        """Whether the manager may take the same callback later."""
        return self.status in (NOBODY_ANSWERED, 429) or self.status >= 500


class Callbacks:
    """The callbacks of one attempt. A trace header continues the trace of its notification.

    * The callback_url is a secret of this attempt: post to it, never log it.
    * A heartbeat may get lost, because another one follows. A result (success, fail) may not: repeat it until
      it is answered. The manager answers a repeated result with 200 again.
    * 410 means that the execution is over, or that another one holds its lock: stop working.
    """

    def __init__(
        self,
        callback_url: str,
        *,
        trace_header: str | None = None,
        retry_delays: Sequence[float] = (1, 2, 4, 8, 16),
        on_callback: Callable[[dict[str, Any], CallbackAnswer], None] | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._url = callback_url
        self._headers = {} if trace_header is None else {"X-Amzn-Trace-Id": trace_header}
        self._retry_delays = retry_delays
        self._on_callback = on_callback
        self._sleep = sleep

    def heartbeat(self, progress: float | None = None) -> CallbackAnswer:
        """Report that the job is alive and, from 0 to 100, its progress."""
        return self._post(_without_none(status="processing", progress=progress))

    def success(
        self, *, summary: str | None = None, state: str | None = None, correlation_id: str | None = None
    ) -> CallbackAnswer:
        """Report that the job is done. The next run gets `state` and continues from there."""
        return self._post_until_answered(
            _without_none(status="success", summary=summary, state=state, correlation_id=correlation_id)
        )

    def fail(self, error: str | dict[str, Any], *, summary: str | None = None) -> CallbackAnswer:
        """Report that the job failed, and why."""
        return self._post_until_answered(_without_none(status="fail", error=error, summary=summary))

    def _post_until_answered(self, body: dict[str, Any]) -> CallbackAnswer:
        answer = self._post(body)
        for delay in self._retry_delays:
            if not answer.worth_repeating:
                break
            self._sleep(delay)
            answer = self._post(body)
        return answer

    def _post(self, body: dict[str, Any]) -> CallbackAnswer:
        answer = post_json(self._url, body, headers=self._headers)
        if self._on_callback:
            self._on_callback(body, answer)
        return answer


def post_json(
    url: str, body: dict[str, Any], timeout_seconds: float = 15, headers: Mapping[str, str] | None = None
) -> CallbackAnswer:
    """Post once and return the answer."""
    request = urllib.request.Request(
        url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **(headers or {})},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as response:
            return CallbackAnswer(response.status, _json_object(response.read()))
    except urllib.error.HTTPError as refused:
        with refused:
            return CallbackAnswer(refused.code, _json_object(refused.read()))
    except OSError as unreachable:
        return CallbackAnswer(NOBODY_ANSWERED, {"detail": str(unreachable)})


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except ValueError:
        return {"detail": content.decode(errors="replace")}
    return parsed if isinstance(parsed, dict) else {"detail": parsed}


def _without_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


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


@dataclass(frozen=True)
class Answer:
    """The answer to a webhook. The body is the result of a sync job."""

    status: int
    body: dict[str, Any] | None = None


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
        with contextlib.suppress(ConnectionError):  # the manager no longer waits
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
