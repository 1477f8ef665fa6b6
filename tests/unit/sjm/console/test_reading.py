"""Reads are shared, kept for a while, sent again ever later after failures, and cost what they may."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from sjm.client import Manager, ManagerError, NoAnswer, NotFound
from sjm.console import overview
from sjm.console.overview import Reader
from sjm.console.pages import execution, job
from sjm.console.reading import (
    BUDGET_DOLLARS_AN_HOUR,
    CHAIN,
    EXECUTIONS,
    JOBS,
    ONE,
    SCHEDULES,
    SEARCH,
    Price,
    Readings,
    dollars_an_hour,
)
from tests.unit.sjm.console.stage_server import served
from tests.unit.sjm.console.stage_stand_in import Stage, now_ms

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "console.md").read_text()


class Clock:
    def __init__(self) -> None:
        self.seconds = now_ms() / 1000

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def readings(clock: Clock) -> Readings:
    return Readings(clock)


class Read:
    """A read that counts, and fails as told."""

    def __init__(self) -> None:
        self.count = 0
        self.error: ManagerError | None = None

    def __call__(self) -> int:
        self.count += 1
        if self.error:
            raise self.error
        return self.count


def test_what_is_fresh_is_not_read_again(readings: Readings, clock: Clock) -> None:
    read = Read()

    async def steps() -> list[int]:
        found = []
        for passed in (0, 4, 1, 0):
            clock.seconds += passed
            found.append((await readings.get("a", read, ONE, 5)).got())
        return found

    assert asyncio.run(steps()) == [1, 1, 2, 2]
    assert readings.spent() == pytest.approx((2, 2 * 2.5e-6))


def test_pages_that_ask_at_once_share_a_read(readings: Readings) -> None:
    read = Read()

    async def at_once() -> list[int]:
        found = await asyncio.gather(*(readings.get("a", read, ONE, 5) for _ in range(20)))
        return [each.got() for each in found]

    assert asyncio.run(at_once()) == [1] * 20


def test_after_a_failure_the_old_value_stays_and_the_next_read_waits_longer(
    readings: Readings, clock: Clock
) -> None:
    read = Read()
    failure = NoAnswer("nobody is there", may_have_acted=False)

    async def steps() -> list[float]:
        began = clock.seconds
        await readings.get("a", read, ONE, 5)
        read.error = failure
        tried = []
        for _ in range(600):
            clock.seconds += 1
            before = read.count
            reading = await readings.get("a", read, ONE, 5)
            if read.count > before:
                tried.append(clock.seconds - began)
                assert (reading.got(), reading.error, reading.read_at) == (1, failure, began)
        read.error = None
        clock.seconds += 120
        assert (await readings.get("a", read, ONE, 5)).error is None
        return tried

    tried = asyncio.run(steps())

    assert [round(b - a) for a, b in pairwise(tried)][:6] == [5, 10, 20, 40, 80, 120]


def test_what_is_gone_does_not_stay(readings: Readings, clock: Clock) -> None:
    read = Read()

    async def steps() -> list[int | None]:
        found = [(await readings.get("a", read, ONE, 5)).value]
        read.error = NotFound({"type": "", "title": "Not found", "status": 404, "detail": ""})
        for _ in range(2):
            clock.seconds += 5
            found.append((await readings.get("a", read, ONE, 5)).value)
        return found

    assert asyncio.run(steps()) == [1, None, None]
    assert read.count == 3


def test_after_an_act_everything_is_read_again(readings: Readings) -> None:
    read = Read()

    async def steps() -> list[int]:
        first = (await readings.get("a", read, ONE, 60)).got()
        readings.forget()
        return [first, *[(await readings.get("a", read, ONE, 60)).got() for _ in range(2)]]

    assert asyncio.run(steps()) == [1, 2, 2]


def test_a_read_that_was_sent_before_an_act_does_not_replace_a_later_one(readings: Readings) -> None:
    released = threading.Event()

    def slow() -> str:
        released.wait(30)
        return "before"

    async def steps() -> str:
        assert (await readings.get("a", slow, ONE, 60, patience_seconds=0.01)).is_loading
        readings.forget()
        assert (await readings.get("a", lambda: "after", ONE, 60)).got() == "after"
        released.set()
        await asyncio.sleep(0.2)
        return (await readings.get("a", lambda: "later", ONE, 60)).got()

    assert asyncio.run(steps()) == "after"


def test_a_slow_read_is_there_the_next_time(readings: Readings) -> None:
    released = threading.Event()

    def slow() -> str:
        released.wait(30)
        return "came"

    async def steps() -> tuple[bool, str]:
        first = await readings.get("a", slow, ONE, 60, patience_seconds=0.01)
        released.set()
        return first.is_loading, (await readings.get("a", slow, ONE, 60)).got()

    assert asyncio.run(steps()) == (True, "came")


def test_other_errors_are_not_hidden(readings: Readings) -> None:
    def broken() -> int:
        raise KeyError("a mistake of the console")

    async def step() -> None:
        await readings.get("a", broken, ONE, 5)

    with pytest.raises(KeyError):
        asyncio.run(step())


def price_of(method: str, path: str) -> Price:
    """The price of a request, by what the API does for it."""
    route, _, query = path.partition("?")
    if route == "/executions":
        return SEARCH if "status=" in query else EXECUTIONS
    if route.endswith("/executions"):
        return EXECUTIONS
    return {"/jobs": JOBS, "/schedules": SCHEDULES}.get(route, ONE)


def sent_while_open(
    read: Callable[[Manager, Readings], Callable[[], Awaitable[None]]], minutes: int, every: int
) -> Counter[Price]:
    """What a page that is open for so long sends, on a stage that has everything."""
    clock = Clock()
    with served(Stage(jobs=1000, executions=5000)) as server, server.manager() as manager:
        readings = Readings(clock)
        ask = read(manager, readings)

        async def look() -> None:
            for _ in range(minutes * 60 // every):
                await ask()
                clock.seconds += every

        asyncio.run(look())
        return Counter(price_of(*each) for each in server.stage.received)


def test_the_page_now_costs_at_most_ten_cents_an_hour() -> None:
    def read(manager: Manager, readings: Readings) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            reader = Reader(manager, readings, 60)
            view = await reader.overview(None, now_ms())
            await reader.day(None, now_ms())
            assert view.errors == []

        return ask

    minutes = 10
    sent = sent_while_open(read, minutes, overview.RECENT_EVERY)

    dollars = sum(price.dollars_a_million / 1e6 * count for price, count in sent.items()) * 60 / minutes
    assert 0.01 < dollars <= BUDGET_DOLLARS_AN_HOUR
    assert sent[SEARCH] <= 3 * minutes * 60 / overview.SEARCH_EVERY + 3


def test_the_page_on_the_console_says_what_open_pages_cost() -> None:
    of_now = (
        dollars_an_hour({EXECUTIONS: overview.RECENT_EVERY})
        + 3 * dollars_an_hour({SEARCH: overview.SEARCH_EVERY})
        + dollars_an_hour({SCHEDULES.times(3): overview.SCHEDULES_EVERY})
        + dollars_an_hour({JOBS.times(8): overview.JOBS_EVERY, EXECUTIONS.times(5): overview.DAY_EVERY})
    )
    of_a_job = dollars_an_hour({ONE: job.LIVE_SECONDS, EXECUTIONS: job.LIVE_SECONDS})
    of_a_chain = dollars_an_hour({ONE: execution.LIVE_SECONDS, CHAIN: execution.CHAIN_SECONDS})

    assert of_now <= BUDGET_DOLLARS_AN_HOUR
    assert f"| **Now, in all** | | | **{of_now:.3f}** |" in PAGE
    assert f"| **a job, with its history** | 17.5 | 5 s | **{of_a_job:.3f}** |" in PAGE
    assert f"| **an execution, with a chain of 200** | 2.5 + 60 | 5 s, 15 s | **{of_a_chain:.3f}** |" in PAGE
