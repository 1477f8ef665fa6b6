"""What runs the attempts of one process: threads, heartbeats, results."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from sjm.receiver.callbacks import Callbacks, name_of
from sjm.receiver.heartbeats import Heartbeats
from sjm.receiver.pool import Pool
from sjm.receiver.results import Pending, Results
from sjm.receiver.run import Run
from sjm.receiver.spool import Spool
from sjm.receiver.sync_answers import SyncAnswers
from sjm.receiver.work import perform, raised

if TYPE_CHECKING:
    import os
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Mapping

    from sjm.receiver.callback import CallbackAnswer
    from sjm.receiver.notification import Notification
    from sjm.receiver.outcome import Failure, Success
    from sjm.receiver.seen import Seen
    from sjm.receiver.spool import Entry
    from sjm.receiver.work import Job

    OnCallback = Callable[[Mapping[str, Any], Mapping[str, Any], CallbackAnswer], None]

logger = logging.getLogger("sjm.receiver")

_MAX_WAIT_SECONDS: Final = 60.0


class Claimed:
    """An attempt that this process is the first and only one to work on."""

    __slots__ = ("entry", "notification", "pending")

    def __init__(self, notification: Notification, entry: Entry | None) -> None:
        self.notification = notification
        self.entry = entry
        self.pending: Pending | None = None


class Engine:
    """Works on attempts. A process that was forked makes another one, because threads are not forked."""

    def __init__(
        self,
        seen: Seen,
        spool: str | os.PathLike[str] | None,
        *,
        workers: int,
        give_up_seconds: float,
        with_trace: bool,
        on_callback: OnCallback | None,
    ) -> None:
        self.pool = Pool(workers)
        self.heartbeats = Heartbeats()
        self.sync_answers = SyncAnswers()
        self.is_closing = False
        self._has_ended = False
        self._seen = seen
        self._spool = None if spool is None else Spool(spool)
        self.results = Results(self._spool, give_up_seconds=give_up_seconds)
        self._give_up_seconds = give_up_seconds
        self._with_trace = with_trace
        self._on_callback = on_callback
        self._changed = threading.Condition()  # reentrant, because a signal handler may call close
        self._running: dict[tuple[str, int], Run | None] = {}
        self._begun: dict[Run, int] = {}  # outside the pool, with the thread that works on it

    def is_running(self, notification: Notification) -> bool:
        """Whether this process works on the attempt just now."""
        return notification.key in self._running

    def claim(self, notification: Notification) -> Claimed | None:
        """Claims an attempt; None if it is a duplicate. Raises what ``seen`` or the disk raises."""
        key = notification.key
        if self._spool is not None and self._spool.has(*key):
            return None
        if not self._seen.claim(*key):
            return None
        entry = None
        try:
            if self._spool is not None and not notification.is_sync:
                entry = self._spool.begin(*key, _document(notification))
            with self._changed:
                self._running[key] = None
        except BaseException:
            self._seen.forget(*key)
            raise
        return Claimed(notification, entry)

    def disclaim(self, claimed: Claimed) -> None:
        """Gives up an attempt whose work did not begin."""
        with self._changed:
            self._running.pop(claimed.notification.key, None)
        if claimed.entry is not None:
            claimed.entry.remove()
        self._seen.forget(*claimed.notification.key)

    def begin(self, claimed: Claimed) -> Run:
        """Begins a run that this thread works on, and its heartbeats."""
        run = self._new_run(claimed)
        try:
            self._start(run)
        except BaseException:
            self.disclaim(claimed)
            raise
        with self._changed:
            self._begun[run] = threading.get_ident()
        return run

    def _new_run(
        self, claimed: Claimed, *, only_on_progress: bool = False, deadline: float | None = None
    ) -> Run:
        """A run of an attempt. ``deadline`` is a time of ``time.monotonic``."""
        notification = claimed.notification
        callbacks = None if notification.is_sync else self._callbacks(notification)
        run = Run(
            notification, callbacks, self.heartbeats, only_on_progress=only_on_progress, deadline=deadline
        )
        with self._changed:
            self._running[notification.key] = run
        return run

    def _start(self, run: Run) -> None:
        if self.is_closing:
            run.run_out_of_time("the service is shutting down")
        run.begin()

    def end(self, claimed: Claimed, run: Run, result: Success | Failure | None) -> None:
        """Ends a run and sends its result once. What is not answered is repeated from another thread.

        The result of a sync job is sent by whoever answers its webhook.
        """
        run.end()
        try:
            if result is not None and not claimed.notification.is_sync:
                self._send(claimed, result)
            elif claimed.entry is not None:
                claimed.entry.remove()
        finally:
            with self._changed:
                self._running.pop(claimed.notification.key, None)
                self._begun.pop(run, None)
                self._changed.notify_all()

    def work(
        self,
        job: Job,
        claimed: Claimed,
        *,
        deadline: float | None = None,
        loop: AbstractEventLoop | None = None,
    ) -> Success | Failure | None:
        """Works on an attempt in this thread, and sends its result once; returns the result."""
        result: Success | Failure | None
        run = self._new_run(claimed, only_on_progress=job.heartbeat == "progress", deadline=deadline)
        try:
            self._start(run)
            result = perform(job.handler, run, with_trace=self._with_trace, loop=loop)
        except BaseException as error:  # no thread or no memory is left: the attempt must end all the same
            result = raised(error, run, with_trace=False)
        self.end(claimed, run, result)
        return result

    def close(self, timeout_seconds: float, grace_seconds: float) -> bool:
        """Ends what runs; returns whether all has ended and no result is lost."""
        if self.is_closing:
            return self._has_ended
        self.is_closing = True
        until = time.monotonic() + timeout_seconds
        if not self._wait_for_others(timeout_seconds):
            self._end_running()
            self._wait_for_others(grace_seconds)
        self._end_running()  # what the thread works on that called this
        left = max(until - time.monotonic(), grace_seconds)
        is_done = (
            self.results.wait_until_none_can_be_lost(left) and self._wait_for_others(0) and not self._begun
        )
        self.results.close()
        with self._changed:
            abandoned = list(self._running)
        for execution_id, attempt in abandoned:
            logger.error("%s attempt %s: is abandoned: this process ends", execution_id, attempt)
        self._has_ended = is_done
        return is_done

    def _wait_for_others(self, seconds: float) -> bool:
        """Whether within that many seconds no other thread works any more."""
        until = time.monotonic() + seconds
        is_idle = self.pool.wait_until_idle(seconds)
        with self._changed:
            left = max(0.0, until - time.monotonic())
            return self._changed.wait_for(self._works_here_only, left) and is_idle

    def _works_here_only(self) -> bool:
        return set(self._begun.values()) <= {threading.get_ident()}

    def _end_running(self) -> None:
        with self._changed:
            running = [run for run in self._running.values() if run is not None]
        for run in running:
            run.run_out_of_time("the service is shutting down")

    def _send(self, claimed: Claimed, result: Success | Failure) -> None:
        body = result.callback()
        give_up_at = time.time() + self._give_up_seconds
        is_kept = claimed.entry is not None
        if claimed.entry is not None:
            try:
                claimed.entry.replace(body=body, give_up_at=give_up_at)
            except OSError:
                is_kept = False
                logger.exception("%s: its result is not in the spool", name_of(claimed.notification))
        claimed.pending = Pending(
            self._callbacks(claimed.notification),
            body,
            give_up_at,
            _max_wait_seconds(claimed.notification),
            claimed.entry,
        )
        claimed.pending.is_kept = is_kept
        self.results.deliver(claimed.pending)

    def _callbacks(self, notification: Notification) -> Callbacks:
        told = self._on_callback
        on_callback = None if told is None else lambda body, answer: told(notification.fields, body, answer)
        return Callbacks(
            notification.callback_url, name_of(notification), notification.trace_header, on_callback
        )


def _document(notification: Notification) -> dict[str, Any]:
    """What the spool keeps: enough to send a result without the job."""
    return {
        "name": name_of(notification),
        "callback_url": notification.callback_url,
        "trace_header": notification.trace_header,
        "max_wait_seconds": _max_wait_seconds(notification),
        "body": None,
    }


def _max_wait_seconds(notification: Notification) -> float:
    """A repeated result is also a sign of life, so it comes as often as a heartbeat."""
    return max(1.0, min(_MAX_WAIT_SECONDS, notification.heartbeat_interval_seconds / 2))
