"""A virtual clock, and tasks that take turns on it.

One task runs at a time, until it sleeps or waits. Which one goes on is a matter of the clock alone, and of
the order in which they began to sleep. So a run is the same each time, however fast the machine is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from greenlet import getcurrent, greenlet

type Callback = Callable[[], object]


class Stuck(Exception):
    """A run made more steps than any run should."""


class Killed(BaseException):
    """A task ends here and now. Not an Exception, so that no code under test catches it."""


class Future[T]:
    """Something that will be known later, once."""

    def __init__(self) -> None:
        self.is_done = False
        self._value: T | None = None
        self._callbacks: list[Callback] = []

    def set(self, value: T) -> None:
        """Makes it known; what comes later is not."""
        if self.is_done:
            return
        self.is_done, self._value = True, value
        for callback in self._callbacks:
            callback()

    @property
    def value(self) -> T:
        """What is known."""
        assert self.is_done
        return cast(T, self._value)

    def when_done(self, callback: Callback) -> None:
        """Calls back as soon as it is known."""
        if self.is_done:
            callback()
        else:
            self._callbacks.append(callback)


class Task:
    """A function that runs on its own, in turn with others."""

    def __init__(self, scheduler: Scheduler, name: str, body: Callable[[], Any], context: Any) -> None:
        self.name = name
        self.context = context
        self.over: Future[None] = Future()
        self.error: Exception | None = None
        self._doomed = False
        self._waits = 0
        self._scheduler = scheduler
        self._body = body
        self._greenlet = greenlet(self._run, scheduler.hub)

    def _run(self) -> None:
        try:
            if not self._doomed:
                self._body()
        except Killed:
            pass
        except Exception as error:
            self.error = error
        finally:
            self.over.set(None)
            self._scheduler.tasks.discard(self)

    def kill(self) -> None:
        """Ends the task where it waits. If it is running now, it ends at its next call."""
        if self.over.is_done or self._doomed:
            return
        self._doomed = True
        self._waits += 1
        self._scheduler.after(0, lambda: self._go_on(self._waits))

    def _go_on(self, number: int) -> None:
        if number == self._waits and not self.over.is_done:
            self._scheduler.running = self
            self._greenlet.switch()

    def start(self) -> None:
        """Lets it begin, in its turn."""
        self._scheduler.after(0, lambda: self._go_on(0) if not self._doomed else None)

    def go_on_at_call(self) -> Callback:
        """What ends the wait that is about to begin, and no other, from out of no other task."""
        self._waits += 1
        return partial(self._go_on, self._waits)

    def wake_up_at_call(self) -> Callback:
        """What wakes it from the wait that is about to begin, and from no other."""
        self._waits += 1
        number = self._waits
        return lambda: self._scheduler.after(0, lambda: self._go_on(number))

    def pause(self) -> None:
        """Waits until it is woken; raises Killed if that is its end."""
        self.check()
        self._scheduler.hub.switch()
        self.check()

    def check(self) -> None:
        """Raises Killed if the task has been ended."""
        if self._doomed:
            raise Killed


class Scheduler:
    """The clock, in milliseconds since 1970, and the tasks."""

    def __init__(self, start_ms: int, max_steps: int = 200_000) -> None:
        self.now_ms = start_ms
        self.hub = getcurrent()
        self.running: Task | None = None
        self.tasks: set[Task] = set()
        self.steps = 0
        self._max_steps = max_steps
        self._count = 0
        self._due: list[tuple[int, int, Callback]] = []
        self._until_ms: int | None = None

    def spawn(self, name: str, body: Callable[[], Any], context: Any = None) -> Task:
        """Starts a task."""
        task = Task(self, name, body, context)
        self.tasks.add(task)
        task.start()
        return task

    def after(self, ms: int, callback: Callback) -> None:
        """Calls back when so much time has passed."""
        self._count += 1
        heapq.heappush(self._due, (self.now_ms + max(ms, 0), self._count, callback))

    @property
    def current(self) -> Task:
        """The task that runs now."""
        assert self.running is not None
        return self.running

    def sleep(self, ms: int) -> None:
        """Lets others go on meanwhile."""
        task = self.current
        task.check()
        if self._is_next_after(ms):
            self.now_ms += max(ms, 0)
            self.steps += 1
            return
        self.after(ms, task.go_on_at_call())
        task.pause()

    def _is_next_after(self, ms: int) -> bool:
        """Whether nobody goes on before the task that sleeps now, so that it need not be left."""
        at_ms = self.now_ms + max(ms, 0)
        return (
            (not self._due or at_ms < self._due[0][0])
            and (self._until_ms is None or at_ms <= self._until_ms)
            and self.steps < self._max_steps
        )

    def wait(self, future: Future[Any], timeout_ms: int | None = None) -> bool:
        """Waits until something is known; False if the time has passed before."""
        task = self.current
        task.check()
        if future.is_done:
            return True
        wake_up = task.wake_up_at_call()
        future.when_done(wake_up)
        if timeout_ms is not None:
            self.after(timeout_ms, wake_up)
        task.pause()
        return future.is_done

    def run(self, until_ms: int | None = None) -> None:
        """Runs until a time, or until nothing is left to do."""
        self._until_ms = until_ms
        while self._due and (until_ms is None or self._due[0][0] <= until_ms):
            at_ms, _, callback = heapq.heappop(self._due)
            self.now_ms = max(self.now_ms, at_ms)
            self.steps += 1
            if self.steps > self._max_steps:
                raise Stuck(f"more than {self._max_steps} steps")
            callback()
            self.running = None
        if until_ms is not None:
            self.now_ms = max(self.now_ms, until_ms)

    def end(self) -> None:
        """Ends all tasks that still wait."""
        self._due.clear()
        for task in sorted(self.tasks, key=lambda task: task.name):
            task.kill()
        self.run()
