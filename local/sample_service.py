"""A service that has its jobs started by the manager: the example to copy.

    python -m local.sample_service --service-name billing

It is notified over SNS or by webhook, takes the job, answers at once, works in a thread, sends
heartbeats meanwhile, and calls back with the result. Read `take` first, it is the heart of it.

Notifications come at least once: SQS may bring a message twice, and a webhook whose 202 was lost is
sent again. A service must therefore be an idempotent consumer. This one remembers each attempt of an
execution that it has taken, and drops the repeat (but still answers 202, or the manager would go on trying).
A service on several machines remembers it in its database, in the transaction that does the work.
Once it has a secret, it takes no webhook that is not signed with it: see local/signatures.py.
For an exclusive job, store the `fencing_token` with what you write, and refuse to write with a lower one.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, Self

from local import slowness
from local.behaviours import Notification, perform, perform_now
from local.callbacks import CallbackAnswer, Callbacks
from local.channels import Answer, QueueListener, Webhook, WebhookListener
from local.signatures import is_genuine

logger = logging.getLogger(__name__)

Channel = Literal["sns", "http"]
Outcome = Literal["taken", "repeated", "tested", "refused"]
"""Refused is what is not genuine, and what a demo or a test wanted refused."""


@dataclass(frozen=True)
class Received:
    """A notification that arrived, and what became of it; `webhook` is there if it came by one.

    `trace_header` is X-Ray's: a service that is traced makes its segment below it.
    """

    arrived_at: float
    channel: Channel
    notification: Notification
    outcome: Outcome
    webhook: Webhook | None = None
    trace_header: str | None = None

    @property
    def job_name(self) -> str:
        """The job that it is for."""
        return str(self.notification["job_name"])

    @property
    def latency_seconds(self) -> float:
        """From the tick's nominal time to the arrival."""
        return self.arrived_at - float(self.notification["scheduled_time_ms"]) / 1000


@dataclass(frozen=True)
class Called:
    """A callback that was sent, and its answer."""

    sent_at: float
    notification: Notification
    body: dict[str, Any]
    answer: CallbackAnswer

    @property
    def job_name(self) -> str:
        """The job that it is about."""
        return str(self.notification["job_name"])


class SampleService:
    """One running service. Leave the topic out, and it listens for webhooks only."""

    def __init__(
        self,
        service_name: str,
        notifications_topic_arn: str | None = None,
        *,
        port: int = 0,
        on_event: Callable[[Received | Called], None] | None = None,
        work: Callable[[Notification, Callbacks, Callable[[float], bool]], None] = perform,
    ) -> None:
        self.service_name = service_name
        self._work = work
        self._on_event = on_event
        self._changed = threading.Condition()
        self._received: list[Received] = []
        self._callbacks: list[Called] = []
        self._taken: set[tuple[str, int]] = set()
        self._scripted_answers: deque[int] = deque()
        self._webhook_secret: str | None = None
        self._stopping = threading.Event()
        self._webhooks = WebhookListener(self._on_webhook, port=port)
        self._queue = notifications_topic_arn and QueueListener(
            notifications_topic_arn,
            {"service_name": [service_name]},
            lambda notification, trace_header: self.take(notification, "sns", trace_header=trace_header),
            queue_name=f"{service_name}-notifications",
        )

    def start(self) -> None:
        """Listen on the webhook and on the queue."""
        self._webhooks.start()
        if self._queue:
            self._queue.start()

    def stop(self) -> None:
        """Stop listening, give up what is still in work, delete the queue."""
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
        """What to register as a job's invocation_target."""
        return f"{self._webhooks.url}/jobs/{job_name}"

    def trust_only(self, webhook_secret: str) -> None:
        """From now on, refuse webhooks that are not signed with this secret, as made by the manager's API."""
        self._webhook_secret = webhook_secret

    def take(
        self,
        notification: Notification,
        channel: Channel,
        webhook: Webhook | None = None,
        trace_header: str | None = None,
    ) -> None:
        """Take a job and return at once; the work has a thread of its own."""
        if notification.get("test"):  # somebody wants to know whether we listen: nothing is to be done
            self._record_received(notification, channel, "tested", webhook, trace_header)
            return
        execution_id = notification["execution_id"]
        attempt = (execution_id, notification.get("attempt", 1))
        with self._changed:
            repeated = attempt in self._taken
            self._taken.add(attempt)
        outcome: Outcome = "repeated" if repeated else "taken"
        self._record_received(notification, channel, outcome, webhook, trace_header)
        if not repeated:
            work = threading.Thread(
                target=self._run, args=(notification, trace_header), name=execution_id, daemon=True
            )
            work.start()

    def perform_now(self, webhook: Webhook) -> Answer:
        """Do a sync job: the answer to its webhook is the result."""
        self._record_received(webhook.notification, "http", "taken", webhook, webhook.trace_header)
        return perform_now(webhook.notification, self._pause)

    def _run(self, notification: Notification, trace_header: str | None) -> None:
        callbacks = Callbacks(
            notification["callback_url"],
            trace_header=trace_header,
            on_callback=lambda body, answer: self._record_callback(notification, body, answer),
            sleep=self._pause,
        )
        try:
            self._work(notification, callbacks, self._pause)
        except Exception as error:
            logger.exception("job %s failed", notification["job_name"])
            callbacks.fail(f"{type(error).__name__}: {error}")

    def _pause(self, seconds: float) -> bool:
        return not self._stopping.wait(seconds)

    def _on_webhook(self, webhook: Webhook) -> Answer:
        with self._changed:
            status = self._scripted_answers.popleft() if self._scripted_answers else HTTPStatus.ACCEPTED
        secret = self._webhook_secret
        if secret and not is_genuine(secret, webhook.headers, webhook.content, time.time()):
            status = HTTPStatus.UNAUTHORIZED
        if not 200 <= status < 300:
            self._record_received(webhook.notification, "http", "refused", webhook, webhook.trace_header)
            return Answer(status)
        if webhook.notification.get("async", True) or webhook.notification.get("test"):
            self.take(webhook.notification, "http", webhook, webhook.trace_header)
            return Answer(status)
        return self.perform_now(webhook)

    # What follows is for demos and tests: a log of all that came and went, and a way to wait for it.

    @property
    def received(self) -> tuple[Received, ...]:
        """Every notification so far, in order of arrival."""
        with self._changed:
            return tuple(self._received)

    @property
    def callbacks(self) -> tuple[Called, ...]:
        """Every callback so far, with its answer."""
        with self._changed:
            return tuple(self._callbacks)

    def script_answers(self, *status_codes: int) -> None:
        """Answer the next webhooks with these; other than 2xx refuses the notification."""
        with self._changed:
            self._scripted_answers.extend(status_codes)

    def wait_for(self, condition: Callable[[Self], bool], seconds: float, what: str) -> None:
        """Return as soon as the condition holds; TimeoutError, with `what`, after so many seconds."""
        with self._changed:
            if not slowness.wait_for(self._changed, lambda: condition(self), seconds):
                raise TimeoutError(f"{self.service_name} waited {seconds:g} s in vain for {what}")

    def _record_received(
        self,
        notification: Notification,
        channel: Channel,
        outcome: Outcome,
        webhook: Webhook | None,
        trace_header: str | None,
    ) -> None:
        received = Received(time.time(), channel, notification, outcome, webhook, trace_header)
        self._record(self._received, received)

    def _record_callback(
        self, notification: Notification, body: dict[str, Any], answer: CallbackAnswer
    ) -> None:
        self._record(self._callbacks, Called(time.time(), notification, body, answer))

    def _record[Event: (Received, Called)](self, log: list[Event], event: Event) -> None:
        with self._changed:
            log.append(event)
            self._changed.notify_all()
        if self._on_event:
            self._on_event(event)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A service that does whatever a job's payload says.")
    parser.add_argument("--service-name", default="billing")
    parser.add_argument("--port", type=int, default=0, help="of the webhook; default: any free one")
    parser.add_argument("--topic-arn", help="notifications topic; default: the one in $STAGE_OUTPUTS, if any")
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
