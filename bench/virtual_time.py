"""A virtual clock for the threads of a pool: it lets hours of sleep pass at once.

When all threads that have work are asleep, the clock jumps to the moment at which the first of them wakes.
Computing takes no virtual time.
"""

import heapq
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


class VirtualTime:
    """The clock of one main thread, which starts work, and of the pool threads that do the work."""

    def __init__(self) -> None:
        self._now = 0.0
        self._lock = threading.Lock()
        self._asleep: list[tuple[float, int, threading.Event]] = []
        self._sleeps = 0
        self._main_waits = False
        self._tasks = 0
        self._workers = 0

    def now(self) -> float:
        """The virtual seconds since the clock was made."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Returns after this much virtual time."""
        woken = threading.Event()
        with self._lock:
            self._sleeps += 1
            heapq.heappush(self._asleep, (self._now + max(0.0, seconds), self._sleeps, woken))
            self._advance_if_all_sleep()
        woken.wait()

    def pool(self, workers: int, initializer: Callable[[], None] | None = None) -> ThreadPoolExecutor:
        """A pool whose threads use this clock. Use only one pool at a time."""
        self._workers = workers
        return _Pool(self, workers, initializer)

    def task_begins(self) -> None:
        """Notes that a pool accepted a task."""
        with self._lock:
            self._tasks += 1

    def task_ends(self) -> None:
        """Notes that a task is done."""
        with self._lock:
            self._tasks -= 1
            self._advance_if_all_sleep()

    @contextmanager
    def main_waits(self) -> Iterator[None]:
        """Marks the time during which the main thread waits for the pool."""
        with self._lock:
            self._main_waits = True
            self._advance_if_all_sleep()
        try:
            yield
        finally:
            with self._lock:
                self._main_waits = False

    def _advance_if_all_sleep(self) -> None:
        at_work = min(self._tasks, self._workers) + (not self._main_waits)
        if self._asleep and len(self._asleep) == at_work:
            self._now, _, woken = heapq.heappop(self._asleep)
            woken.set()


class _Pool(ThreadPoolExecutor):
    def __init__(self, time: VirtualTime, workers: int, initializer: Callable[[], None] | None) -> None:
        super().__init__(workers, initializer=initializer)
        self._time = time
        # A pool may make fewer threads than workers, and then time would stand still. These tasks wait for
        # each other, so that the pool makes all its threads.
        together = threading.Barrier(workers)
        for _ in range(workers):
            super().submit(together.wait)

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        self._time.task_begins()
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(lambda _: self._time.task_ends())  # also called if the task is cancelled
        return future

    def map(self, fn: Callable[..., Any], *iterables: Any, **how: Any) -> Iterator[Any]:
        results = super().map(fn, *iterables, **how)
        with self._time.main_waits():
            return iter(list(results))

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        with self._time.main_waits():
            super().shutdown(*args, **kwargs)
