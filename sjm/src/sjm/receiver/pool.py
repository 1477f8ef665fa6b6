"""Threads that work, at most so many."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("sjm.receiver")


class Pool:
    """Works in at most ``size`` threads, which start when they are needed and are used again.

    Take a :meth:`slot` first: work is never queued. The threads are daemons, so that :meth:`wait_until_idle`
    decides how long the process waits for them.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("workers: expected at least 1")
        self._size = size
        self._changed = threading.Condition()
        self._taken = 0
        self._idle = 0
        self._threads = 0
        self._work: deque[Callable[[], object]] = deque()

    @property
    def free(self) -> int:
        """How many places are free."""
        return self._size - self._taken

    def slot(self, wait_seconds: float = 0) -> bool:
        """Takes a place, if one is free in time. Use it by :meth:`submit`, or :meth:`release` it."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._taken < self._size, wait_seconds):
                return False
            self._taken += 1
            return True

    def release(self) -> None:
        """Gives a place back."""
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()

    def submit(self, work: Callable[[], object]) -> None:
        """Works in a thread, in a place that was taken, and gives the place back.

        Raises RuntimeError if the system has no more threads. The place is then still taken.
        """
        with self._changed:
            if self._idle <= len(self._work) and self._threads < self._size:
                name = f"sjm-worker-{self._threads + 1}"
                threading.Thread(target=self._run, name=name, daemon=True).start()
                self._threads += 1
            # Else a thread is idle, or about to be.
            self._work.append(work)
            self._changed.notify_all()

    def wait_until_idle(self, seconds: float) -> bool:
        """Whether all places are free within that many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._taken == 0, max(0.0, seconds))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._work:
                    self._changed.wait()
                self._idle -= 1
                work = self._work.popleft()
            try:
                work()
            except BaseException:
                logger.exception("the receiver failed")
            finally:
                self.release()
