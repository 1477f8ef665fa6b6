"""One execution of the job: notifies the receiver, and takes its callbacks as the manager does."""

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import uniform
from time import monotonic, time
from typing import Any

from sjm.rehearsal import callback_body
from sjm.rehearsal.answers import Misbehaviour, Reply, as_usual
from sjm.rehearsal.notification import encoded, new_execution_id, notification, webhook_id
from sjm.rehearsal.observed import Callback, Delivery, Seen
from sjm.rehearsal.settings import Settings
from sjm.rehearsal.signature import signed_headers
from sjm.rehearsal.sync_answer import error_of
from sjm.rehearsal.webhook import NoAnswer, post

_SECRET_BYTES = 32


class Stopped(Exception):
    """The rehearsal was stopped."""


class Execution:
    """One execution. ``misbehaviour`` is what is wrong with the callback API for it.

    While ``released`` is cleared, its callbacks get no answer. ``Waits.hold_seconds`` later it is set.
    """

    def __init__(
        self,
        settings: Settings,
        register: Callable[[str, "Execution"], str],
        *,
        misbehaviour: Misbehaviour = as_usual,
        payload: str | None = None,
        last_success: Mapping[str, Any] | None = None,
        fencing_token: int | None = None,
    ) -> None:
        self.id = new_execution_id(settings, datetime.now(UTC))
        self.released = threading.Event()
        self.released.set()
        self._settings = settings
        self._register = register
        self._misbehaviour = misbehaviour
        self._payload = settings.payload if payload is None else payload
        self._last_success = last_success or {}
        self._fencing_token = fencing_token
        self._changed = threading.Condition()
        self._urls: dict[str, tuple[int, int]] = {}
        self._current = 1
        self._deliveries: list[Delivery] = []
        self._callbacks: list[Callback] = []
        self._stopped = False

    def notification(self, attempt: int = 1) -> dict[str, Any]:
        """Builds a notification of an attempt. Each has a callback_url of its own, and all are valid."""
        prefix = "" if attempt == 1 else f"{attempt}."
        token = f"{self.id}.{prefix}{secrets.token_urlsafe(_SECRET_BYTES)}"
        with self._changed:
            self._urls[token] = (len(self._urls), attempt)
            self._current = attempt
        url = self._register(token, self)
        return notification(
            self._settings,
            self.id,
            attempt,
            callback_url=url if self._settings.is_async else None,
            payload=self._payload,
            last_success=self._last_success,
            fencing_token=self._fencing_token,
            now=datetime.now(UTC),
        )

    def deliver(
        self,
        body: Mapping[str, Any],
        *,
        keys: Sequence[bytes] | None = None,
        seconds_ago: int = 0,
        alter: Callable[[bytes], bytes] = bytes,
        loses_answer: bool = False,
    ) -> Delivery:
        """Sends a notification, and notes the answer.

        While the receiver is busy, it is notified again, as the manager does: after Retry-After, but within
        ``ttl_seconds``. Only the last answer is noted, or the busy one after ``Waits.busy_seconds``.

        It is signed with the service's secret, or with ``keys``, as if it were ``seconds_ago``. ``alter``
        changes the content after it was signed.
        """
        keys = self._settings.keys if keys is None else keys
        content = encoded(body)
        name = webhook_id(body["execution_id"], body["attempt"])
        is_async, waits = self._settings.is_async, self._settings.waits
        within = waits.answer_within_seconds if is_async else float(waits.ttl_seconds)
        until = monotonic() + waits.busy_seconds
        while True:
            headers = signed_headers(keys, name, int(time()) - seconds_ago, content)
            delivery = deliver(
                self._settings.url, alter(content), headers, within, not is_async, loses_answer=loses_answer
            )
            if not delivery.is_busy or monotonic() > until:
                break
            # Scenes that are played at once must not return at once.
            self.wait(min(delivery.retry_after_seconds or 1.0, waits.ttl_seconds) * uniform(1, 1.5))
        with self._changed:
            self._deliveries.append(delivery)
        return delivery

    def run(self, body: Mapping[str, Any] | None = None, *, keys: Sequence[bytes] | None = None) -> bool:
        """Sends a notification, by default that of attempt 1, and waits for its result.

        False if it is not taken, or if no result is accepted. The result of a sync job is its answer.
        """
        if body is None:
            body = self.notification()
        is_taken = self.deliver(body, keys=keys).is_taken
        return is_taken and (not self._settings.is_async or self.wait_for_result(body["attempt"]))

    def wait_for_result(self, attempt: int = 1) -> bool:
        """Waits until a result of the attempt is accepted. False if there is silence for ``ttl_seconds``."""
        waits = self._settings.waits
        began = monotonic()
        with self._changed:
            while self._seen().result_of(attempt) is None:
                heard = max([began, *(each.at for each in self._callbacks)])
                left = min(heard + waits.ttl_seconds, began + waits.longest_seconds) - monotonic()
                if left <= 0:
                    return False
                self._wait(left)
        return True

    def wait_for_callback(self) -> bool:
        """Waits for the first callback. False if there is none for ``ttl_seconds``."""
        until = monotonic() + self._settings.waits.ttl_seconds
        with self._changed:
            while not self._callbacks:
                if (left := until - monotonic()) <= 0:
                    return False
                self._wait(left)
        return True

    def wait(self, seconds: float) -> None:
        """Waits, and takes callbacks meanwhile."""
        until = monotonic() + seconds
        with self._changed:
            while (left := until - monotonic()) > 0:
                self._wait(left)

    def stop(self) -> None:
        """Lets everybody who waits raise Stopped."""
        self.released.set()
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def seen(self) -> Seen:
        """What was seen until now."""
        with self._changed:
            return self._seen()

    def receive(self, token: str, body: Any, refused: tuple[int, str] | None) -> tuple[Reply, dict[str, Any]]:
        """Takes a callback. Returns the answer, and its body: the state of the execution, or a problem.

        ``refused`` has a status and the reason if the content is not JSON.
        """
        with self._changed:
            now = monotonic()
            number, attempt = self._urls[token]
            reply, refusal = self._reply(body, attempt, refused, now)
            fields = body if isinstance(body, dict) else {}
            self._callbacks.append(Callback(now, number, attempt, fields, reply.status, refusal, now))
            at = len(self._callbacks) - 1
            self._changed.notify_all()
        if not self.released.wait(self._settings.waits.hold_seconds):
            self.released.set()
        with self._changed:
            self._callbacks[at] = replace(self._callbacks[at], answered_at=monotonic())
        return reply, self._document(reply, refusal, attempt, fields)

    def refuse(self, status: int, reason: str) -> None:
        """Notes a request that was meant as a callback, and was none."""
        with self._changed:
            now = monotonic()
            self._callbacks.append(Callback(now, 0, self._current, {}, status, reason, now))
            self._changed.notify_all()

    def _reply(
        self, body: Any, attempt: int, refused: tuple[int, str] | None, now: float
    ) -> tuple[Reply, str]:
        if refused:
            return Reply(refused[0]), refused[1]
        if wrong := self._misbehaviour(body if isinstance(body, dict) else {}, self._callbacks, now):
            return wrong, ""
        if errors := callback_body.errors_of(body, self._settings.waits.ttl_seconds):
            return Reply(400), "; ".join(errors)
        result = self._seen().result_of(attempt)
        if result is not None:
            return Reply(200 if _repeats(body, result.body) else 410), ""
        return Reply(200 if attempt == self._current else 410), ""

    def _document(
        self, reply: Reply, refusal: str, attempt: int, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        if reply.status == 200:
            status = fields["status"]
            until = datetime.fromtimestamp(time() + self._settings.waits.ttl_seconds, UTC)
            return {
                "execution_id": self.id,
                "attempt": attempt,
                "status": "running" if status == "processing" else status,
                "lock_expires_at": f"{until:%Y-%m-%dT%H:%M:%SZ}",
            }
        detail = refusal or f"This is a rehearsal of HTTP {reply.status}."
        problem: dict[str, Any] = {"type": "about:blank", "status": reply.status, "detail": detail}
        return problem | ({"execution_status": "cancelled"} if reply.status == 410 else {})

    def _seen(self) -> Seen:
        return Seen(tuple(self._deliveries), tuple(self._callbacks), monotonic(), self._settings.is_async)

    def _wait(self, seconds: float) -> None:
        if not self._stopped:
            self._changed.wait(seconds)
        if self._stopped:
            raise Stopped


def deliver(
    url: str,
    content: bytes,
    headers: Mapping[str, str],
    within_seconds: float,
    is_sync: bool = False,
    *,
    loses_answer: bool = False,
) -> Delivery:
    """Sends a webhook once, and says what came back."""
    began = monotonic()
    try:
        answer = post(url, content, headers, within_seconds, wants_body=is_sync, loses_answer=loses_answer)
    except NoAnswer as error:
        return Delivery(began, monotonic() - began, None, str(error))
    took = monotonic() - began
    if answer is None:
        return Delivery(began, took, None)
    return Delivery(
        began,
        took,
        answer.status,
        body_error=error_of(answer) if is_sync else "",
        retry_after_seconds=answer.retry_after_seconds(datetime.now(UTC)),
    )


def _repeats(body: Mapping[str, Any], accepted: Mapping[str, Any]) -> bool:
    names = ("status", "summary", "error", "correlation_id", "state")
    return all(body.get(name) == accepted.get(name) for name in names)
