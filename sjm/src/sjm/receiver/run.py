"""One attempt of a job, as its handler sees it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterable, Sized
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from sjm.receiver.callbacks import name_of
from sjm.receiver.errors import OutOfTime, Stopped
from sjm.receiver.outcome import result_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sjm.receiver.callback import CallbackAnswer
    from sjm.receiver.callbacks import Callbacks
    from sjm.receiver.heartbeats import Heartbeats
    from sjm.receiver.notification import Notification
    from sjm.receiver.outcome import Failure, HandedOver, Success

logger = logging.getLogger("sjm.receiver")

T = TypeVar("T")

_MAX_TIMEOUT_SECONDS: Final = 10.0
_PROGRESS_AT_MOST_EVERY_SECONDS: Final = 10.0


class Run:
    """One attempt. Handlers of several attempts run at once, each with a run of its own."""

    def __init__(
        self,
        notification: Notification,
        callbacks: Callbacks | None,
        heartbeats: Heartbeats,
        *,
        only_on_progress: bool = False,
        deadline: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``callbacks`` is None for a sync job. ``deadline`` is a time of the ``clock``."""
        self._result: Success | Failure | HandedOver | None = None
        self._notification = notification
        self._callbacks = callbacks
        self._heartbeats = heartbeats
        self._only_on_progress = only_on_progress
        self._deadline = deadline
        self._clock = clock
        self._lock = threading.Lock()
        self._stopped: str | None = None
        self._out_of_time: str | None = None
        self._percent: float | None = None
        self._advanced = False
        self._sent_at = clock()
        self._complained = False

    # What the manager sent

    @property
    def notification(self) -> Mapping[str, Any]:
        """All fields of the notification. Its ``callback_url`` is a secret: do not log it."""
        return self._notification.fields

    @property
    def service_name(self) -> str:
        """The service."""
        return str(self.notification.get("service_name", ""))

    @property
    def job_name(self) -> str:
        """The job."""
        return self._notification.job_name

    @property
    def execution_id(self) -> str:
        """The execution. Its attempts share it."""
        return self._notification.key[0]

    @property
    def attempt(self) -> int:
        """Which try of the execution this is, from 1 on."""
        return self._notification.key[1]

    @property
    def payload(self) -> str:
        """The job's payload, unchanged; empty without one."""
        return str(self.notification.get("payload") or "")

    def json(self) -> Any:
        """The payload, parsed; None if it is empty. Raises ValueError if it is not JSON."""
        import json

        return json.loads(self.payload) if self.payload else None

    @property
    def scheduled_time(self) -> datetime:
        """The nominal time of the tick, in UTC."""
        from datetime import UTC, datetime

        return datetime.fromtimestamp(int(self.notification["scheduled_time_ms"]) / 1000, UTC)

    @property
    def fencing_token(self) -> int | None:
        """For a job with a lock: pass it to what you write to, which rejects a lower one. Else None."""
        token = self.notification.get("fencing_token")
        return None if token is None else int(token)

    @property
    def last_successful_execution(self) -> Mapping[str, Any]:
        """The job's last success; empty before the first."""
        return self.notification.get("last_successful_execution") or {}

    @property
    def state(self) -> str | None:
        """What the last success told the next run; None before the first."""
        state = self.last_successful_execution.get("state")
        return None if state is None else str(state)

    @property
    def parents(self) -> Sequence[Mapping[str, Any]]:
        """The executions after which this one runs, each with ``job``, ``status`` and, if sent, ``state``."""
        return self.notification.get("parents") or []

    @property
    def is_sync(self) -> bool:
        """Whether the answer to the webhook is the result. Such a run has no heartbeats."""
        return self._notification.is_sync

    @property
    def trace_header(self) -> str | None:
        """X-Ray's trace of the notification. Callbacks continue it."""
        return self._notification.trace_header

    @property
    def ttl_seconds(self) -> float:
        """How long the manager waits for a sign of life, unless ``heartbeat_interval_seconds`` is shorter."""
        return self._notification.ttl_seconds

    # Whether to go on

    @property
    def is_stopped(self) -> bool:
        """Whether the manager has answered 410."""
        return self._stopped is not None

    @property
    def remaining_seconds(self) -> float | None:
        """The time until :meth:`check` raises OutOfTime; None if no such time is known."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock())

    def check(self) -> None:
        """Raises Stopped if the execution is over, OutOfTime if the time is up. It sends nothing."""
        if self._stopped is not None:
            raise Stopped(self._stopped)
        if self._out_of_time is not None:
            raise OutOfTime(self._out_of_time)
        if self._deadline is not None and self._clock() >= self._deadline:
            raise OutOfTime("the time of this attempt is up")

    # What the manager is told

    @overload
    def track(self, items: Iterable[T], total: int | None = None) -> Iterator[T]: ...

    @overload
    def track(self, items: AsyncIterable[T], total: int | None = None) -> AsyncIterator[T]: ...

    def track(
        self, items: Iterable[T] | AsyncIterable[T], total: int | None = None
    ) -> Iterator[T] | AsyncIterator[T]:
        """Gives the items one by one, and tells how many of ``total``, or of ``len(items)``, are done.

        Raises Stopped or OutOfTime before an item as soon as there is no sense in going on. It sends nothing
        by itself: the progress goes with the next heartbeat.
        """
        if total is None and isinstance(items, Sized):
            total = len(items)
        if isinstance(items, AsyncIterable):
            return self._track_async(items, total)
        return self._track(items, total)

    def _track(self, items: Iterable[T], total: int | None) -> Iterator[T]:
        for done, item in enumerate(items, 1):
            self.check()
            yield item
            self._note_done(done, total)

    async def _track_async(self, items: AsyncIterable[T], total: int | None) -> AsyncIterator[T]:
        done = 0
        async for item in items:
            self.check()
            yield item
            done += 1
            self._note_done(done, total)

    def _note_done(self, done: int, total: int | None) -> None:
        self._note(min(100.0, 100.0 * done / total) if total and total > 0 else None)

    def progress(self, percent: float | None = None) -> None:
        """Tells how far the work is, from 0 to 100, or only that it goes on. It goes with the next heartbeat.

        Raises Stopped or OutOfTime if there is no sense in going on, ValueError for another number.
        """
        self._note(_checked(percent))
        self.check()

    def heartbeat(self, percent: float | None = None) -> CallbackAnswer | None:
        """Sends a heartbeat now; returns the answer. You need it only to time heartbeats yourself.

        The answer is None for a sync job, and has the status 0 if nobody answered. Raises what
        :meth:`progress` raises, also if this answer says so.
        """
        self._note(_checked(percent), may_hurry=False)
        self.check()
        if self._callbacks is None:
            return None
        answer = self._send()
        self.check()
        return answer

    def _note(self, percent: float | None, *, may_hurry: bool = True) -> None:
        with self._lock:
            was, self._advanced = self._percent, True
            if percent is not None:
                self._percent = percent
            is_news = percent is not None and (was is None or int(was) != int(percent))
            silent_seconds = self._clock() - self._sent_at
        is_due = may_hurry and silent_seconds >= min(_PROGRESS_AT_MOST_EVERY_SECONDS, self._interval)
        if self._callbacks is not None and is_due and (is_news or silent_seconds >= self._interval):
            self._heartbeats.hurry(self, 0)

    @property
    def result(self) -> Success | Failure | HandedOver | None:
        """What the body of ``with jobs.run(message) as run`` has set. A handler returns its result."""
        return self._result

    @result.setter
    def result(self, result: Success | Failure | HandedOver | str | None) -> None:
        self._result = result_of(result)

    # Heartbeats, called by the receiver

    @property
    def _interval(self) -> float:
        return self._notification.heartbeat_interval_seconds / 2

    def begin(self) -> None:
        """Begins the heartbeats."""
        if self._callbacks is not None:
            self._heartbeats.add(self, self._interval)

    def end(self) -> None:
        """Ends the heartbeats."""
        self._heartbeats.remove(self)

    def beat(self) -> float | None:
        """Sends a heartbeat, if there is one to send; returns the seconds to the next."""
        if self._stopped is not None:
            return None
        if self._only_on_progress and not self._advanced:
            return self._interval
        answer = self._send()
        if answer.is_gone:
            return None
        if answer.is_worth_repeating:
            # Half of the interval is left. A second heartbeat must still arrive within it.
            return max(min(self._interval / 4, 5.0), min(answer.retry_after_seconds, self._interval / 2))
        return self._interval

    def run_out_of_time(self, reason: str) -> None:
        """Lets the handler's next check raise OutOfTime."""
        self._out_of_time = reason

    def _send(self) -> CallbackAnswer:
        assert self._callbacks is not None
        with self._lock:
            percent, self._advanced = self._percent, False
            self._sent_at = self._clock()
        body: dict[str, Any] = {"status": "processing"}
        if percent is not None:
            body["progress"] = percent
        answer = self._callbacks.post(body, max(1.0, min(self._interval / 2, _MAX_TIMEOUT_SECONDS)))
        if answer.is_gone:
            self._stopped = str(answer.body.get("detail") or "the execution is over")
        elif not answer.is_taken:
            with self._lock:
                self._advanced = True
            if not self._complained:  # once a run: the next heartbeats would say the same
                logger.warning(
                    "%s: a heartbeat was not taken: %s", name_of(self._notification), answer.reason
                )
            self._complained = True
        return answer

    def __repr__(self) -> str:
        return f"<Run of {name_of(self._notification)}>"


def _checked(percent: float | None) -> float | None:
    """The percentage as a number that JSON has, also if it is one of ``decimal`` or of ``numpy``."""
    if percent is None:
        return None
    if not 0 <= percent <= 100:
        raise ValueError(f"percent: expected 0 to 100, got {percent}")
    return int(percent) if isinstance(percent, int) else float(percent)
