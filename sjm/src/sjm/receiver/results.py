"""Sends results, and repeats them until they are answered."""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from sjm.receiver.callback import import_all
from sjm.receiver.callbacks import Callbacks
from sjm.receiver.outcome import Failure

if TYPE_CHECKING:
    from sjm.receiver.callback import CallbackAnswer
    from sjm.receiver.spool import Entry, Spool

logger = logging.getLogger("sjm.receiver")

_TIMEOUT_SECONDS: Final = 15.0
# The random numbers of the module `random` belong to the service, which may have seeded them.
_JITTER: Final = random.SystemRandom()
_MAX_RETRY_AFTER_SECONDS: Final = 3600.0
# Each file of the spool that this process holds is an open one, and sockets need some, too.
_MAX_HELD: Final = 100
_BODY_REFUSED: Final = frozenset({400, 413, 415, 422})


class Pending:
    """A result on its way. ``is_answered`` is set with the manager's answer, or when it is given up.

    ``is_kept`` says whether the next process finds it in the spool. ``refused`` is the answer after which a
    success became a failure.
    """

    def __init__(
        self,
        callbacks: Callbacks,
        body: dict[str, Any],
        give_up_at: float,
        max_wait_seconds: float,
        entry: Entry | None = None,
    ) -> None:
        """``give_up_at`` is in seconds since 1970."""
        self.callbacks = callbacks
        self.body = body
        self.give_up_at = give_up_at
        self.max_wait_seconds = max_wait_seconds
        self.entry = entry
        self.is_kept = entry is not None
        self.tries = 0
        self.answer: CallbackAnswer | None = None
        self.refused: CallbackAnswer | None = None
        self.is_answered = threading.Event()


class Results:
    """Sends a result at once, and what is not answered from one thread, with backoff and jitter.

    It also sends what dead processes left in the spool, when it starts and once a minute. While the manager
    is out of reach, it holds 100 files of the spool. The others wait on disk for their turn.
    """

    def __init__(
        self,
        spool: Spool | None,
        *,
        backoff_seconds: float = 1.0,
        scan_seconds: float = 60.0,
        give_up_seconds: float = 86_400.0,
    ) -> None:
        self._spool = spool
        self.backoff_seconds = backoff_seconds
        self.repeat_after_fault_seconds = 30.0
        self._scan_seconds = scan_seconds
        self._give_up_seconds = give_up_seconds
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._numbers = itertools.count()
        self._queue: list[tuple[float, int, Pending]] = []
        self._unanswered: set[Pending] = set()

    def start(self) -> None:
        """Sends what was left behind, if there is a spool."""
        if self._spool is not None:
            import_all()  # a server may fork its workers while the thread runs
            with self._changed:
                self._start_thread()

    def deliver(self, pending: Pending) -> None:
        """Sends a result once, in this thread. If it is not answered, it is repeated from another thread."""
        with self._changed:
            self._unanswered.add(pending)
        try:
            self._send_or_schedule(pending)
        except Exception:
            logger.exception("the receiver failed to send a result")

    def wait_until_none_can_be_lost(self, seconds: float) -> bool:
        """Whether within that many seconds every result is answered, or in the spool for the next process."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(each.is_kept for each in self._unanswered), max(0.0, seconds)
            )

    def close(self) -> None:
        """Repeats nothing any more. What is in the spool stays there, for the next process."""
        with self._changed:
            self._closed = True
            left = list(self._unanswered)
            self._changed.notify_all()
        for pending in left:
            if not pending.is_kept:
                logger.error("%s: its result is lost: this process ends", pending.callbacks.name)

    def _schedule(self, pending: Pending, wait: float) -> None:
        with self._changed:
            if pending.tries == 1 and pending.entry and pending.is_kept and self._is_full(1):
                self._unanswered.discard(pending)
                pending.entry.let_go()
                self._start_thread()
                return
            heapq.heappush(self._queue, (time.monotonic() + wait, next(self._numbers), pending))
            self._start_thread()
            self._changed.notify_all()

    def _is_full(self, without: int = 0) -> bool:
        return len(self._unanswered) - without >= _MAX_HELD

    def _start_thread(self) -> None:
        if self._thread is None and not self._closed:
            thread = threading.Thread(target=self._run, name="sjm-results", daemon=True)
            thread.start()  # it may raise, and the next result tries again
            self._thread = thread

    def _run(self) -> None:
        scan_at = time.monotonic() if self._spool is not None else None
        while True:
            with self._changed:
                if self._closed:
                    return
                now = time.monotonic()
                due = min(
                    [at for at in (scan_at, self._queue[0][0] if self._queue else None) if at is not None],
                    default=None,
                )
                if due is None or due > now:
                    self._changed.wait(None if due is None else due - now)
                    continue
                pending = heapq.heappop(self._queue)[2] if self._queue and self._queue[0][0] <= now else None
            try:
                if pending is not None:
                    self._send_or_schedule(pending)
                else:
                    scan_at = now + self._scan_seconds
                    if self._take_over_what_was_left():
                        scan_at = now + min(1.0, self._scan_seconds)
            except Exception:
                logger.exception("the spool cannot be read")

    def _send_or_schedule(self, pending: Pending) -> None:
        """Sends once, and if it is not answered, or if that fails, once more later."""
        wait: float | None
        try:
            wait = self._send(pending)
        except Exception:
            logger.exception("%s: its result could not be sent", pending.callbacks.name)
            wait = self.repeat_after_fault_seconds
        if wait is not None:
            self._schedule(pending, wait)

    def _take_over_what_was_left(self) -> bool:
        """Whether there may be more than this process can hold."""
        assert self._spool is not None
        if self._is_full():
            return True
        for entry in self._spool.left_behind():
            try:
                pending = self._left(entry)
            except Exception:
                logger.exception("a file in the spool cannot be sent")
                entry.let_go()
                continue
            with self._changed:
                self._unanswered.add(pending)
            self._schedule(pending, 0)
            if self._is_full():
                return True
        return False

    def _left(self, entry: Entry) -> Pending:
        found = entry.document
        body = found.get("body")
        if body is None:
            # The process ended while it worked, or before it could note the result. This is no success, even
            # if the work was perhaps done.
            body = Failure(
                {"name": "Interrupted", "message": "the service's process ended during the work"}
            ).callback()
            entry.replace(body=body, give_up_at=time.time() + self._give_up_seconds)
        logger.warning("%s: sends the result that a process left behind", found.get("name"))
        callbacks = Callbacks(str(found["callback_url"]), str(found.get("name")), found.get("trace_header"))
        return Pending(
            callbacks,
            body,
            float(entry.document["give_up_at"]),
            float(found.get("max_wait_seconds", 60)),
            entry,
        )

    def _send(self, pending: Pending) -> float | None:
        """Sends once; returns the seconds until it is to be repeated, None if it is not."""
        pending.tries += 1
        answer = pending.callbacks.post(pending.body, _TIMEOUT_SECONDS)
        name = pending.callbacks.name
        if answer.is_worth_repeating:
            if time.time() < pending.give_up_at:
                if pending.tries == 1:
                    logger.warning("%s: repeats its result, which was not answered: %s", name, answer.reason)
                return self._wait_after(pending.tries, answer, pending.max_wait_seconds)
            logger.error("%s: gives up its result: %s", name, answer.reason)
        elif answer.status in _BODY_REFUSED and pending.body.get("status") == "success":
            logger.error("%s: its result was refused: %s", name, answer.reason)
            self._replace(pending, answer)
            return 0.0
        elif answer.is_gone:
            logger.warning("%s: nobody waits for its result: %s", name, answer.reason)
        elif not answer.is_taken:
            logger.error("%s: its result was refused: %s", name, answer.reason)
        self._finish(pending, answer)
        return None

    def _replace(self, pending: Pending, answer: CallbackAnswer) -> None:
        """Says that the result was refused. Otherwise the attempt would end as a timeout, which says less."""
        refused = {"name": "ResultRefused", "message": f"the manager refused the result: {answer.reason}"}
        pending.refused = answer
        pending.body = Failure(refused).callback()
        if pending.entry is not None:
            try:
                pending.entry.replace(body=pending.body)
            except OSError:  # the spool has the success still, which would be refused again
                logger.exception("%s: its failure is not in the spool", pending.callbacks.name)

    def _finish(self, pending: Pending, answer: CallbackAnswer) -> None:
        pending.answer = answer
        if pending.entry is not None:
            try:
                pending.entry.remove()
            except OSError:
                logger.exception("%s: its file stays in the spool", pending.callbacks.name)
        with self._changed:
            self._unanswered.discard(pending)
            self._changed.notify_all()
        pending.is_answered.set()

    def _wait_after(self, tries: int, answer: CallbackAnswer, max_wait_seconds: float) -> float:
        backoff = min(self.backoff_seconds * 2.0 ** min(tries - 1, 16), max_wait_seconds)
        asked = min(answer.retry_after_seconds, _MAX_RETRY_AFTER_SECONDS)
        return asked + backoff * _JITTER.uniform(0.5, 1.0)
