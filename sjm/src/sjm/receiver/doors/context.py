"""A ``with`` statement whose body is the handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sjm.receiver.errors import Duplicate, Refused, ResultNotDelivered, Stopped, TestNotification
from sjm.receiver.notification import parse
from sjm.receiver.outcome import HandedOver, Success
from sjm.receiver.work import raised

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from sjm.receiver.engine import Claimed
    from sjm.receiver.receiver import Headers, Receiver
    from sjm.receiver.results import Pending
    from sjm.receiver.run import Run

MIN_WAIT_SECONDS: Final = 60.0


class RunContext:
    """What ``jobs.run(message)`` returns."""

    def __init__(
        self,
        receiver: Receiver,
        message: bytes | str | Mapping[str, Any],
        headers: Headers | None,
        trace_header: str | None,
    ) -> None:
        self._receiver = receiver
        self._message = message
        self._headers = headers
        self._trace_header = trace_header
        self._claimed: Claimed | None = None
        self._run: Run | None = None

    def __enter__(self) -> Run:
        notification = self._read()
        if notification.is_test:
            raise TestNotification(f"the manager tests the job {notification.job_name}")
        if notification.is_sync:
            raise Refused(400, "the result of a sync job is the answer to its webhook: use receive")
        engine = self._receiver.engine
        self._claimed = None if engine.is_running(notification) else engine.claim(notification)
        if self._claimed is None:
            raise Duplicate(f"{notification.job_name}: this attempt was taken before")
        self._run = engine.begin(self._claimed)
        return self._run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        run, claimed = self._run, self._claimed
        assert run is not None and claimed is not None
        with_trace = self._receiver.tells_traces
        result = raised(error, run, with_trace=with_trace) if error else run.result or Success()
        if run.is_stopped or isinstance(result, HandedOver):
            result = None
        self._receiver.engine.end(claimed, run, result)
        pending = claimed.pending
        if error is None and pending:
            _wait_until_taken(pending, max(MIN_WAIT_SECONDS, run.ttl_seconds))
        return run.is_stopped and isinstance(error, Stopped)

    def _read(self) -> Any:
        if self._headers is None:
            return parse(self._message, self._trace_header)
        message = self._message
        if not isinstance(message, bytes):
            raise TypeError("message: expected the bytes of the webhook's body, as they were signed")
        return self._receiver.verified(message, self._headers)


def _wait_until_taken(pending: Pending, seconds: float) -> None:
    """Raises ResultNotDelivered unless the manager takes the result in time, or nobody waits for it."""
    name = pending.callbacks.name
    if not pending.is_answered.wait(seconds):
        raise ResultNotDelivered(f"{name}: nobody answers its result")
    answer = pending.refused or pending.answer
    if answer and not (answer.is_taken or answer.is_gone):
        raise ResultNotDelivered(f"{name}: its result was not taken: {answer.reason}")
