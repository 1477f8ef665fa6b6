"""Time that passes only while every thread of a pool waits for it, so that minutes of waiting take none.

A thread that sleeps here gives way to the others; when all that have work are asleep, time goes on to the
earliest end of a sleep. What the code computes meanwhile takes no time.
"""

import heapq
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


class VirtualTime:
    """The clock of one thread that starts work, and of the threads of the pools that do it."""

    def __init__(self) -> None:
        self._now = 0.0
        self._lock = threading.Lock()
        self._asleep: list[tuple[float, int, threading.Event]] = []
        self._sleeps = 0
        self._main_waits = False
        self._tasks = 0
        self._workers = 0

    def now(self) -> float:
        """Seconds since the beginning."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Returns when so much time has passed for all."""
        woken = threading.Event()
        with self._lock:
            self._sleeps += 1
            heapq.heappush(self._asleep, (self._now + max(0.0, seconds), self._sleeps, woken))
            self._go_on_if_all_sleep()
        woken.wait()

    def pool(self, workers: int, initializer: Callable[[], None] | None = None) -> ThreadPoolExecutor:
        """A pool whose threads live in this time; one at a time."""
        self._workers = workers
        return _Pool(self, workers, initializer)

    def task_begins(self) -> None:
        """A pool took on a task."""
        with self._lock:
            self._tasks += 1

    def task_ends(self) -> None:
        """A task was done."""
        with self._lock:
            self._tasks -= 1
            self._go_on_if_all_sleep()

    @contextmanager
    def main_waits(self) -> Iterator[None]:
        """While the thread that starts work waits for the pool."""
        with self._lock:
            self._main_waits = True
            self._go_on_if_all_sleep()
        try:
            yield
        finally:
            with self._lock:
                self._main_waits = False

    def _go_on_if_all_sleep(self) -> None:
        at_work = min(self._tasks, self._workers) + (not self._main_waits)
        if self._asleep and len(self._asleep) == at_work:
            self._now, _, woken = heapq.heappop(self._asleep)
            woken.set()


class _Pool(ThreadPoolExecutor):
    def __init__(self, time: VirtualTime, workers: int, initializer: Callable[[], None] | None) -> None:
        super().__init__(workers, initializer=initializer)
        self._time = time
        # A pool may make fewer threads than it has work for, and time would stand still. Each of these waits
        # for all others, so all are made.
        together = threading.Barrier(workers)
        for _ in range(workers):
            super().submit(together.wait)

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        self._time.task_begins()
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(lambda _: self._time.task_ends())  # also of one that is given up
        return future

    def map(self, fn: Callable[..., Any], *iterables: Any, **how: Any) -> Iterator[Any]:
        results = super().map(fn, *iterables, **how)
        with self._time.main_waits():
            return iter(list(results))

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        with self._time.main_waits():
            super().shutdown(*args, **kwargs)
