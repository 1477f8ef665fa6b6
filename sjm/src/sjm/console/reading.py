"""Reads of the API that are kept for a while, so that an open page costs little, however often it asks.

Each kind of read has a price. What a page reads, and how often, is chosen so that a page that is open for an
hour costs at most ``BUDGET_DOLLARS_AN_HOUR``. Several pages that show the same share one read.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

import anyio.to_thread

from sjm.client import ManagerError, NotFound

T = TypeVar("T")

BUDGET_DOLLARS_AN_HOUR = 0.10
_KEPT_READINGS = 300
_MAX_BACKOFF_SECONDS = 120.0
_HOUR_SECONDS = 3600.0


@dataclass(frozen=True)
class Price:
    """What one call costs, in dollars a million, at list prices in us-east-1 (docs/cost.md).

    Each call is billed $1.00 by API Gateway, and about $0.50 by Lambda and X-Ray. The rest is what DynamoDB
    reads. A search by status examines up to 33,000 entries of an index, as it does on a stage with a million
    executions a day. A chain is priced as one of 200 executions, whose records are read one by one.
    """

    dollars_a_million: float

    def times(self, count: int) -> "Price":
        """The price of a read that sends so many calls."""
        return Price(self.dollars_a_million * count)


ONE = Price(2.5)
SCHEDULES = Price(5)
CHAIN = Price(60)
JOBS = Price(15)
EXECUTIONS = Price(15)
SEARCH = Price(150)


def dollars_an_hour(reads: dict[Price, float]) -> float:
    """What it costs to repeat each read, given with its interval in seconds, for an hour."""
    return sum(price.dollars_a_million / 1e6 * _HOUR_SECONDS / seconds for price, seconds in reads.items())


@dataclass(frozen=True)
class Reading(Generic[T]):
    """What was read. ``value`` is that of the last read that succeeded; None if none has yet.

    It is None, too, if the last read found that it was deleted. ``read_at`` is when the value was read, in
    seconds since 1970. ``error`` is why the latest read failed, and ``retry_at`` when the next one may be
    sent; None if it succeeded. If a read has neither value nor error, it is still on its way.
    """

    value: T | None = None
    read_at: float | None = None
    error: ManagerError | None = None
    retry_at: float = 0.0
    failures: int = 0

    @property
    def is_loading(self) -> bool:
        """Whether nothing has come yet."""
        return self.value is None and self.error is None

    def got(self) -> T:
        """The value. Raises what made the read fail if there is none."""
        if self.value is None:
            raise self.error or ManagerError("The stage has not answered yet. Try again.")
        return self.value


@dataclass
class _Entry:
    reading: Reading[object] = field(default_factory=Reading)
    task: "asyncio.Task[None] | None" = None
    # The number of acts before the read was sent. If there were more since, it is to be sent again.
    acts_before: int = -1


class Readings:
    """Reads in threads, one at a time of each key, and keeps what was read."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._sent: deque[tuple[float, float]] = deque()
        self._acts = 0

    async def get(
        self,
        key: Hashable,
        read: Callable[[], T],
        price: Price,
        fresh_seconds: float,
        *,
        patience_seconds: float | None = None,
    ) -> Reading[T]:
        """Reads, unless it did so less than ``fresh_seconds`` ago, or failed and is not to try again yet.

        If the answer takes longer than ``patience_seconds``, this returns what was read before, and the
        answer is there the next time. Never raises a ManagerError: the reading has it, beside what was read
        before.
        """
        entry = self._entries.setdefault(key, _Entry())
        self._entries.move_to_end(key)
        while len(self._entries) > _KEPT_READINGS:
            self._entries.popitem(last=False)
        if entry.acts_before < self._acts or (entry.task is None and self._is_due(entry, fresh_seconds)):
            entry.acts_before = self._acts
            entry.task = asyncio.create_task(self._read(entry, read, price, fresh_seconds))
        if (task := entry.task) is not None:
            await asyncio.wait({task}, timeout=patience_seconds)
            if task.done() and task.exception() is not None:  # no error of the client: a mistake
                entry.task = None if entry.task is task else entry.task
                task.result()
        return cast(Reading[T], entry.reading)

    def forget(self) -> None:
        """Reads everything again when it is next asked for: after an act, nothing is as it was."""
        self._acts += 1

    def spent(self) -> tuple[int, float]:
        """How many requests the pages have sent in the last hour, and about how many dollars they cost."""
        while self._sent and self._sent[0][0] <= self._now() - _HOUR_SECONDS:
            self._sent.popleft()
        return len(self._sent), sum(dollars for _, dollars in self._sent)

    def _is_due(self, entry: _Entry, fresh_seconds: float) -> bool:
        reading = entry.reading
        if reading.error is not None:
            return self._now() >= reading.retry_at
        return reading.read_at is None or self._now() - reading.read_at >= fresh_seconds

    async def _read(
        self, entry: _Entry, read: Callable[[], object], price: Price, fresh_seconds: float
    ) -> None:
        acts_before = entry.acts_before
        self._sent.append((self._now(), price.dollars_a_million / 1e6))
        before = entry.reading
        try:
            value = await anyio.to_thread.run_sync(read)
            reading = Reading(value, self._now())
        except NotFound as error:
            # What was deleted is not shown as it was before.
            reading = Reading(None, None, error, self._now() + fresh_seconds)
        except ManagerError as error:
            failures = before.failures + 1
            wait = min(max(fresh_seconds, 1.0) * 2.0 ** min(failures - 1, 10), _MAX_BACKOFF_SECONDS)
            reading = Reading(before.value, before.read_at, error, self._now() + wait, failures)
        # After an act, a later read has taken the place of this one.
        if acts_before == entry.acts_before:
            entry.reading, entry.task = reading, None
