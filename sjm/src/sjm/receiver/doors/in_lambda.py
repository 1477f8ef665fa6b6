"""What the doors of Lambda have in common: work within an invocation."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sjm.receiver.engine import Claimed, Engine
    from sjm.receiver.notification import Notification
    from sjm.receiver.receiver import Receiver
    from sjm.receiver.work import Job

logger = logging.getLogger("sjm.receiver")

MIN_SECONDS: Final = 1.0
"""With less time than that, no work is begun."""


def deadline_of(receiver: Receiver, context: Any) -> float:
    """When the work of this invocation must have ended, as a time of ``time.monotonic``.

    https://docs.aws.amazon.com/lambda/latest/dg/python-context.html
    """
    remaining_seconds = float(context.get_remaining_time_in_millis()) / 1000
    return time.monotonic() + remaining_seconds - receiver.leave_seconds


class Works:
    """The work of one invocation. Each attempt runs in a thread of its own."""

    def __init__(self, engine: Engine, deadline: float) -> None:
        self._engine = engine
        self._deadline = deadline
        self._begun: list[tuple[Claimed, threading.Event]] = []

    def begin(self, job: Job, notification: Notification) -> bool:
        """Begins an attempt, unless it is a duplicate; returns False if there is no time left for it.

        Raises what the store of claims raises.
        """
        if self._engine.is_running(notification):
            return True
        left = self._deadline - time.monotonic()
        if left < MIN_SECONDS or not self._engine.pool.slot(left - MIN_SECONDS):
            return False
        try:
            claimed = self._engine.claim(notification)
        except BaseException:
            self._engine.pool.release()
            raise
        if claimed is None:
            self._engine.pool.release()
            return True
        ended = threading.Event()
        try:
            self._engine.pool.submit(lambda: self._work(job, claimed, ended))
        except RuntimeError:
            self._engine.disclaim(claimed)
            self._engine.pool.release()
            raise
        self._begun.append((claimed, ended))
        return True

    def wait(self) -> None:
        """Waits until all work has ended, and until the deadline for the answers to its results."""
        for _, ended in self._begun:
            ended.wait()
        for claimed, _ in self._begun:
            pending = claimed.pending
            if pending and not pending.is_answered.wait(max(0.0, self._deadline - time.monotonic())):
                logger.error(
                    "%s: its result is not answered at the end of the invocation", pending.callbacks.name
                )

    def _work(self, job: Job, claimed: Claimed, ended: threading.Event) -> None:
        try:
            self._engine.work(job, claimed, deadline=self._deadline)
        finally:
            ended.set()
