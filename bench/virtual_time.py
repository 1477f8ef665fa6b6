"""A virtual clock for tasks that sleep: it lets hours pass at once.

Each task is a greenlet. The clock lets them run one after the other, and jumps to the moment at which the
next one wakes. Computing takes no virtual time, so a task sleeps for as long as its computing should take.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

from greenlet import getcurrent, greenlet


class Task(greenlet):  # type: ignore[misc]
    """Something that runs beside others. ``owner`` is what started it, and the tasks that it starts."""

    def __init__(self, run: Callable[[], None], clock: "VirtualTime", owner: object) -> None:
        super().__init__(run, clock._hub)
        self.owner = owner


class VirtualTime:
    """The clock."""

    def __init__(self) -> None:
        self._hub = getcurrent()
        self._now = 0.0
        self._asleep: list[tuple[float, int, greenlet]] = []
        self._sleeps = 0

    def now(self) -> float:
        """The virtual seconds since the clock was made."""
        return self._now

    @property
    def owner(self) -> Any:
        """What started the task that runs now."""
        task = getcurrent()
        return task.owner if isinstance(task, Task) else None

    def begin(self, run: Callable[[], None], owner: object = None) -> None:
        """Begins a task, of the same owner unless another is named."""
        self._wake(Task(run, self, owner if owner is not None else self.owner), 0)

    def sleep(self, seconds: float) -> None:
        """Returns after this much virtual time."""
        self._wake(getcurrent(), seconds)
        self._hub.switch()

    def run(self) -> None:
        """Runs until no task is left."""
        while self._asleep:
            self._now, _, task = heapq.heappop(self._asleep)
            task.switch()

    def pool(self, workers: int, initializer: object = None) -> "_Pool":
        """Takes the place of a ThreadPoolExecutor."""
        return _Pool(self, workers)

    def _wake(self, task: greenlet, seconds: float) -> None:
        self._sleeps += 1
        heapq.heappush(self._asleep, (self._now + max(0.0, seconds), self._sleeps, task))


class _Pool:
    def __init__(self, clock: VirtualTime, workers: int) -> None:
        self._clock = clock
        self._idle = workers
        self._work: deque[Callable[[], None]] = deque()
        self._waiting: list[tuple[Callable[[], bool], greenlet]] = []
        self._unfinished = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(lambda: not self._unfinished)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Takes one piece of work, whose result nobody asks for."""
        self._work.append(lambda: function(*arguments))
        self._unfinished += 1
        if self._idle:
            self._idle -= 1
            self._clock.begin(self._do_work)

    def map(self, function: Callable[..., Any], *arguments: Iterable[Any], **_: Any) -> Iterator[Any]:
        """Does all pieces of work, and returns when all are done."""
        results: dict[int, Any] = {}

        def do(number: int, work: tuple[Any, ...]) -> None:
            results[number] = function(*work)

        pieces = list(zip(*arguments, strict=True))
        for number, work in enumerate(pieces):
            self.submit(do, number, work)
        self._wait(lambda: len(results) == len(pieces))
        return iter([results[number] for number in range(len(pieces))])

    def _do_work(self) -> None:
        while self._work:
            self._work.popleft()()
            self._unfinished -= 1
            for is_over, task in [each for each in self._waiting if each[0]()]:
                self._waiting.remove((is_over, task))
                self._clock._wake(task, 0)
        self._idle += 1

    def _wait(self, is_over: Callable[[], bool]) -> None:
        if not is_over():
            self._waiting.append((is_over, getcurrent()))
            self._clock._hub.switch()
