"""Missed ticks: a job with catch_up all starts for each of them, oldest first."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.core.errors import TickIncomplete
from jobmanager.executions import catch_up
from jobmanager.executions.tick import start_due_executions
from jobmanager.executions.tick_parts import Tick
from jobmanager.jobs import changes
from jobmanager.schedules.fire_times import fire_times_within
from tests.unit.functions.examples import NOON_MS, save_job

pytestmark = pytest.mark.usefixtures("cloud")
HOURLY = "cron(0 * * * ? *)"
HOUR_MS = 3_600_000


class Starts:
    """Step Functions, which takes each name once; the starts in their order."""

    class exceptions:
        class ExecutionAlreadyExists(Exception):
            pass

    def __init__(self) -> None:
        self.inputs: dict[str, dict[str, Any]] = {}
        self.order: list[tuple[str, str]] = []
        self.failing: Callable[[str, str], bool] = lambda job_name, scheduled_time: False

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> None:
        due = json.loads(input)
        if self.failing(due["job_name"], due["scheduled_time"]):
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "StartExecution")
        if self.inputs.setdefault(name, due) != due:
            raise self.exceptions.ExecutionAlreadyExists
        self.order.append((due["job_name"], due["scheduled_time"]))

    def of(self, job_name: str) -> list[str]:
        """The scheduled times for which a job was started, in the order of the starts."""
        return [scheduled_time for name, scheduled_time in self.order if name == job_name]


@pytest.fixture(autouse=True)
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    fake = Starts()
    for client in ("step_functions", "untraced_step_functions"):
        monkeypatch.setattr(f"jobmanager.executions.machine.{client}", lambda: fake)
    return fake


def missed(hours: int, schedule: str = HOURLY) -> Tick:
    """All ticks of so many hours after noon were missed, and found a minute after the last one."""
    last_ms = NOON_MS + hours * HOUR_MS
    return {
        "schedule": schedule,
        "scheduled_time": iso(last_ms),
        "catch_up": True,
        "missed_after_ms": NOON_MS,
        "found_ms": last_ms + 60_000,
    }


def hours(first: int, last: int) -> list[str]:
    return [iso(NOON_MS + hour * HOUR_MS) for hour in range(first, last + 1)]


def no_handover(rest: Tick) -> None:
    pytest.fail(f"handed over {rest}")


def deliver(tick: Tick, remaining_ms: int = 300_000) -> list[Tick]:
    """Delivers a tick; returns what it handed over."""
    rests: list[Tick] = []
    start_due_executions(tick, lambda: remaining_ms, rests.append, lambda _: None)
    return rests


def test_each_job_catches_up_as_it_says_oldest_first(starts: Starts) -> None:
    save_job("all", schedule=HOURLY, catch_up="all")
    save_job("one", schedule=HOURLY, catch_up="one")
    save_job("none", schedule=HOURLY)
    assert deliver(missed(30)) == []
    assert starts.of("all") == hours(7, 30)  # the default window is a day
    assert starts.of("one") == hours(30, 30)
    assert starts.of("none") == []


def test_the_window_counts_from_when_the_missed_ticks_were_found(starts: Starts) -> None:
    save_job("a", schedule=HOURLY, catch_up="all", catch_up_window_seconds=3 * 3600)
    save_job("b", schedule=HOURLY, catch_up="all", catch_up_window_seconds=2_592_000)
    deliver(missed(30))
    assert starts.of("a") == hours(28, 30)
    assert starts.of("b") == hours(1, 30)


def test_only_times_at_which_the_job_was_active_are_caught_up(starts: Starts) -> None:
    save_job("paused", schedule=HOURLY, catch_up="all")
    changes.pause("billing", "paused", {"reason": "r"}, "ann", NOON_MS + 2 * HOUR_MS + 1000)
    changes.resume("billing", "paused", "ann", NOON_MS + 5 * HOUR_MS - 1000)
    save_job("late", schedule=HOURLY, catch_up="all", at_ms=NOON_MS + 6 * HOUR_MS + 1000)
    deliver(missed(8))
    assert starts.of("paused") == [*hours(1, 2), *hours(5, 8)]
    assert starts.of("late") == hours(7, 8)


def test_a_job_starts_at_most_1000_times_for_the_latest(starts: Starts) -> None:
    every_minute = "cron(* * * * ? *)"
    save_job("all", schedule=every_minute, catch_up="all")
    deliver(missed(20, every_minute))
    last_ms = NOON_MS + 20 * HOUR_MS
    assert starts.of("all") == [iso(last_ms - minute * 60_000) for minute in reversed(range(1000))]


def test_a_rate_is_counted_from_the_last_known_tick(starts: Starts) -> None:
    schedule = "rate(7 minutes)"
    save_job("all", schedule=schedule, catch_up="all", catch_up_window_seconds=1800)
    after_ms, period_ms = NOON_MS + 123, 7 * 60_000
    last_ms = after_ms + 100 * period_ms
    tick: Tick = {**missed(0, schedule), "scheduled_time": iso(last_ms), "missed_after_ms": after_ms}
    deliver({**tick, "found_ms": last_ms + 60_000})
    assert starts.of("all") == [iso(last_ms - number * period_ms) for number in (4, 3, 2, 1, 0)]


def test_a_time_that_the_clock_skips_is_not_caught_up(starts: Starts) -> None:
    key = "cron(30 2 * * ? *) Europe/Berlin"
    save_job(
        "all",
        schedule="cron(30 2 * * ? *)",
        time_zone="Europe/Berlin",
        catch_up="all",
        catch_up_window_seconds=2_592_000,
        at_ms=ms_of_iso("2026-03-01T00:00:00Z"),
    )
    last = "2026-03-30T00:30:00Z"
    tick: Tick = {
        "schedule": key,
        "scheduled_time": last,
        "catch_up": True,
        "missed_after_ms": ms_of_iso("2026-03-27T01:30:00Z"),
        "found_ms": ms_of_iso(last) + 60_000,
    }
    deliver(tick)
    assert starts.of("all") == ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"]


def test_missed_ticks_that_are_delivered_twice_start_nothing_twice(starts: Starts) -> None:
    save_job("all", schedule=HOURLY, catch_up="all")
    deliver(missed(3))
    deliver(missed(3))
    assert starts.of("all") == hours(1, 3)


def test_a_start_that_keeps_failing_is_not_overtaken_by_later_ones(starts: Starts) -> None:
    for name in ("a", "b"):
        save_job(name, schedule=HOURLY, catch_up="all")
    tries: list[str] = []

    def fails(job_name: str, scheduled_time: str) -> bool:
        tries.extend([job_name] if (job_name, scheduled_time) == ("a", hours(3, 3)[0]) else [])
        return (job_name, scheduled_time) == ("a", hours(3, 3)[0])

    def remaining_ms() -> int:
        return 300_000 if len(tries) < 4 else 1000

    starts.failing = fails
    with pytest.raises(TickIncomplete):
        start_due_executions(missed(5), remaining_ms, no_handover, lambda _: None)
    assert starts.of("a") == hours(1, 2)
    starts.failing = lambda job_name, scheduled_time: False
    deliver(missed(5))
    assert starts.of("a") == starts.of("b") == hours(1, 5)


def test_when_time_is_short_the_rest_is_handed_over_and_goes_on_in_order(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobmanager.executions.tick._PAGE", 2)
    for name in ("a", "b", "c"):
        save_job(name, schedule=HOURLY, catch_up="all")
    ticks = [missed(4)]
    handled = 0
    while ticks:
        ticks += deliver(ticks.pop(0), remaining_ms=100_000)
        handled += 1
    assert handled > 4
    for name in ("a", "b", "c"):
        assert starts.of(name) == hours(1, 4)


def test_a_tick_of_the_version_before_starts_for_the_latest_only(starts: Starts) -> None:
    save_job("all", schedule=HOURLY, catch_up="all")
    save_job("one", schedule=HOURLY, catch_up="one")
    deliver({"schedule": HOURLY, "scheduled_time": hours(3, 3)[0], "catch_up": True})
    assert sorted(starts.order) == [("all", hours(3, 3)[0]), ("one", hours(3, 3)[0])]


def test_a_spread_job_that_catches_up_keeps_the_start_of_its_offset(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobmanager.executions.spread.offset_seconds", lambda key, spread: spread)
    save_job("all", schedule=HOURLY, catch_up="all", spread_seconds=600)
    monkeypatch.setattr("jobmanager.executions.delayed_starts.now_ms", lambda: NOON_MS + 3 * HOUR_MS)
    deliver(missed(2))
    assert [due["starts_at"] for due in starts.inputs.values()] == [
        iso(NOON_MS + hour * HOUR_MS + 600_000) for hour in (1, 2)
    ]


def test_many_missed_times_of_many_jobs_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[Any] = []
    original = fire_times_within

    def counted(*asked: Any) -> list[int]:
        computed.append(asked)
        return original(*asked)

    monkeypatch.setattr(catch_up, "fire_times_within", counted)
    for number in range(20):
        save_job(f"job-{number}", schedule=HOURLY, catch_up="all")
    deliver(missed(3))
    assert len(computed) == 1
