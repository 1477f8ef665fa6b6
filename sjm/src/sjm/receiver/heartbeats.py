"""Sends the heartbeats of all runs from one thread."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("sjm.receiver")


class Beating(Protocol):
    """What has heartbeats."""

    def beat(self) -> float | None:
        """Sends a heartbeat, if it is time; returns the seconds to the next, None if none follows."""


class Heartbeats:
    """One thread for all runs. It starts with the first run, and waits where there is nothing to send."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._numbers = itertools.count()
        # (when, number, what). An entry counts only while it is the one that `_next` names.
        self._queue: list[tuple[float, int, Beating]] = []
        self._next: dict[Beating, int] = {}

    def add(self, beating: Beating, seconds: float) -> None:
        """Sends the first heartbeat after that many seconds."""
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="sjm-heartbeats", daemon=True)
                thread.start()  # it may raise, and the next run tries again
                self._thread = thread
            self._schedule(beating, seconds)

    def hurry(self, beating: Beating, seconds: float) -> None:
        """Sends the next heartbeat after that many seconds instead, unless it was removed."""
        with self._changed:
            if beating in self._next:
                self._schedule(beating, seconds)

    def remove(self, beating: Beating) -> None:
        """Sends no more heartbeats, except one that is under way."""
        with self._changed:
            self._next.pop(beating, None)
            self._changed.notify()

    def __len__(self) -> int:
        return len(self._next)

    def _schedule(self, beating: Beating, seconds: float) -> None:
        number = self._next[beating] = next(self._numbers)
        heapq.heappush(self._queue, (self._clock() + seconds, number, beating))
        self._changed.notify()

    def _run(self) -> None:
        while True:
            beating, number = self._wait_for_next()
            try:
                seconds = beating.beat()
            except Exception:
                logger.exception("a heartbeat failed")
                seconds = 5.0
            with self._changed:
                if self._next.get(beating) == number:  # else it is removed, or was hurried meanwhile
                    if seconds is None:
                        del self._next[beating]
                    else:
                        self._schedule(beating, seconds)

    def _wait_for_next(self) -> tuple[Beating, int]:
        with self._changed:
            while True:
                while self._queue and self._next.get(self._queue[0][2]) != self._queue[0][1]:
                    heapq.heappop(self._queue)
                wait = self._queue[0][0] - self._clock() if self._queue else None
                if wait is not None and wait <= 0:
                    _, number, beating = heapq.heappop(self._queue)
                    return beating, number
                self._changed.wait(wait)
