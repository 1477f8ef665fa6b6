"""Plays the manager for one receiver: begins executions of its job, and sends test notifications."""

import itertools
import secrets
import threading
from time import time
from typing import Any

from sjm.rehearsal.answers import Misbehaviour, as_usual
from sjm.rehearsal.callbacks import CallbackServer
from sjm.rehearsal.execution import Execution, deliver
from sjm.rehearsal.notification import encoded, test_notification
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.settings import Settings, Waits
from sjm.rehearsal.signature import signed_headers


class PlayedManager:
    """Plays the manager. What the good run showed is used by the scenes after it."""

    def __init__(self, settings: Settings, callbacks: CallbackServer) -> None:
        self.settings = settings
        self._callbacks = callbacks
        self._fencing_tokens = itertools.count(1)
        self._lock = threading.Lock()
        self._last_success: dict[str, Any] = {}
        self.took: float | None = None

    @property
    def waits(self) -> Waits:
        """How long to wait for each thing."""
        return self.settings.waits

    def watch(self, execution: Execution, is_long: bool = False) -> None:
        """Waits for callbacks that must not come. ``is_long``: the job got the long payload."""
        if self.settings.is_async:
            execution.wait(self.waits.quiet_seconds(None if is_long else self.took))

    def execution(self, misbehaviour: Misbehaviour = as_usual, payload: str | None = None) -> Execution:
        """Begins an execution of the job."""
        with self._lock:
            token = next(self._fencing_tokens) if self.settings.exclusive else None
        return Execution(
            self.settings,
            self._callbacks.register,
            misbehaviour=misbehaviour,
            payload=payload,
            last_success=self._last_success,
            fencing_token=token,
        )

    def remember(self, execution: Execution) -> None:
        """Notes how long the job takes, and its state for the executions that follow."""
        seen = execution.seen()
        result = seen.result_of(1)
        if result is None:
            return
        self.took = result.at - seen.deliveries[0].at
        if result.body["status"] == "success":
            kept = {name: result.body[name] for name in ("state", "summary") if name in result.body}
            self._last_success = {
                "execution_id": execution.id,
                "finished_at_ms": round(time() * 1000),
                "status": "success",
                **kept,
            }

    def test(self) -> Seen:
        """Sends a test notification."""
        content = encoded(test_notification(self.settings))
        headers = signed_headers(self.settings.keys, f"test-{secrets.token_hex(8)}", int(time()), content)
        delivery = deliver(self.settings.url, content, headers, self.waits.answer_within_seconds)
        return Seen((delivery,), is_async=self.settings.is_async)
