"""The sample service for the demo and the tests: it keeps a log, waits for events, and refuses on request."""

import threading
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Self

from local import slowness
from local.sample_service import Called, Received, SampleService, Webhook
from sjm.receiver import Answer


class ObservedService(SampleService):
    """A sample service with a log of its notifications and callbacks."""

    def __init__(self, service_name: str, notifications_topic_arn: str | None = None, **more: Any) -> None:
        self._changed = threading.Condition()
        self._received: list[Received] = []
        self._callbacks: list[Called] = []
        self._scripted_answers: deque[int] = deque()
        super().__init__(service_name, notifications_topic_arn, **more)

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
        """Answer the next webhooks with these statuses. A status other than 2xx refuses the notification."""
        with self._changed:
            self._scripted_answers.extend(status_codes)

    def wait_for(self, condition: Callable[[Self], bool], seconds: float, what: str) -> None:
        """Return as soon as the condition holds. Raises TimeoutError after that many seconds."""
        with self._changed:
            if not slowness.wait_for(self._changed, lambda: condition(self), seconds):
                raise TimeoutError(f"{self.service_name} waited {seconds:g} s in vain for {what}")

    def answer(self, webhook: Webhook) -> Answer:
        """Answer as the script says, or as the sample service does."""
        with self._changed:
            status = self._scripted_answers.popleft() if self._scripted_answers else HTTPStatus.ACCEPTED
        if not 200 <= status < 300:
            return self.refuse(webhook, status)
        answer = super().answer(webhook)
        return Answer(status, answer.outcome) if answer.status == HTTPStatus.ACCEPTED else answer

    def _record(self, event: Received | Called) -> None:
        super()._record(event)  # calls on_event before it wakes those who wait
        with self._changed:
            if isinstance(event, Received):
                self._received.append(event)
            else:
                self._callbacks.append(event)
            self._changed.notify_all()
