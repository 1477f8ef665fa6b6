import re
from typing import Literal

import pytest

from bench import fan_out as page
from bench.start_cost import Cost
from bench.start_quota import (
    EXPRESS,
    LARGE_REGIONS,
    Cpu,
    FanOut,
    Lambda,
    Quota,
    fan_out,
    peak_mb_of_a_part,
)
from bench.virtual_time import VirtualTime
from jobmanager.executions import tick as ticks
from jobmanager.executions import tick_parts
from local.crowd import Outcome

SMALL = Quota("nowhere", 100, 50)
CPU = Cpu(0.001)


def test_sleeping_tasks_wake_in_the_order_of_their_times() -> None:
    clock = VirtualTime()
    ended: list[tuple[float, int]] = []

    def work(number: int) -> None:
        clock.sleep(3600.0 / number)
        ended.append((clock.now(), number))

    def main() -> None:
        with clock.pool(3) as pool:
            pool.map(work, [1, 2, 3, 4])
            assert len(ended) == 4

    clock.begin(main)
    clock.run()
    assert ended == [(1200.0, 3), (1800.0, 2), (2100.0, 4), (3600.0, 1)]


def test_pools_of_several_owners_share_the_clock() -> None:
    clock = VirtualTime()
    ended: list[tuple[str, float]] = []

    def work(seconds: float) -> None:
        clock.sleep(seconds)
        ended.append((clock.owner, clock.now()))

    def main(first: float) -> None:
        clock.sleep(first)
        with clock.pool(2) as pool:
            pool.submit(work, 9)
            list(pool.map(work, [1, 2]))
        ended.append((f"{clock.owner} is over", clock.now()))

    for owner, first in (("one", 5.0), ("other", 0.5)):
        clock.begin(lambda first=first: main(first), owner)  # type: ignore[misc]
    clock.run()
    assert ended == [
        ("other", 1.5),
        ("other", 3.5),
        ("one", 6.0),
        ("one", 8.0),
        ("other", 9.5),
        ("other is over", 9.5),
        ("one", 14.0),
        ("one is over", 14.0),
    ]


def test_all_jobs_start_once_in_about_the_time_that_the_quota_needs() -> None:
    found = fan_out(400, SMALL, Lambda(1769), CPU)
    assert (found.started, found.started_twice, found.lost) == (400, 0, 0)
    assert found.throttled > 0
    assert SMALL.seconds_for(400) == 6 <= found.last_start_at < 20
    assert sum(found.starts_each_10_seconds) == 400


def test_starts_within_the_burst_of_the_quota_are_not_throttled() -> None:
    found = fan_out(100, SMALL, Lambda(1769), CPU)
    assert (found.started, found.throttled, found.invocations) == (100, 0, 1)


def test_a_function_with_a_tenth_of_a_cpu_takes_ten_times_as_long() -> None:
    quick, slow = (fan_out(300, LARGE_REGIONS, Lambda(mb), Cpu(0.01, 0.1)) for mb in (1769, 177))
    assert slow.last_start_at - 1 == pytest.approx(10 * (quick.last_start_at - 1), rel=0.1)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "_PAGE", 50)
    monkeypatch.setattr(tick_parts, "MIN_JOBS", 100)
    monkeypatch.setattr(tick_parts, "_MIN_JOBS_OF_A_PART", 50)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(("workflow_type", "parts"), [("standard", 4), ("express", 8)])
def test_the_parts_of_a_tick_run_at_the_same_time(
    workflow_type: Literal["standard", "express"], parts: int
) -> None:
    """400 starts take 40 s of a core."""
    found = fan_out(400, Quota("nowhere", 400, 400, workflow_type), Lambda(1769), Cpu(0.1))
    assert (found.started, found.started_twice, found.lost) == (400, 0, 0)
    assert (found.invocations, found.longest_chain) == (1 + parts, 2)
    assert 40 / parts < found.last_start_at < 40 / parts + 6
    assert found.billed_seconds > 40


@pytest.mark.usefixtures("small_parts")
def test_a_part_near_its_limit_hands_over_the_rest_and_no_job_is_lost() -> None:
    found = fan_out(390, LARGE_REGIONS, Lambda(1769, timeout_seconds=181), Cpu(0.05))
    assert (found.started, found.started_twice) == (390, 0)
    assert (found.invocations, found.longest_chain) == (9, 3)


@pytest.mark.usefixtures("small_parts")
def test_lambda_stops_a_chain_that_it_takes_for_a_loop() -> None:
    function = Lambda(1769, timeout_seconds=181, longest_chain=2)
    found = fan_out(400, LARGE_REGIONS, function, Cpu(0.05))
    assert (found.started, found.lost, found.invocations) == (200, 200, 5)


def test_a_part_is_started_with_real_threads_to_measure_its_memory() -> None:
    assert peak_mb_of_a_part(50) > 20


CASE = page.Case(LARGE_REGIONS, 100_000, 345)


def result(**fields: object) -> FanOut:
    known = {
        "jobs": 100_000,
        "started": 100_000,
        "started_twice": 0,
        "last_start_at": 331.0,
        "invocations": 1,
        "failed_invocations": 0,
        "longest_chain": 1,
        "throttled": 600,
        "billed_seconds": 330.0,
        "starts_each_10_seconds": (3000,) * 33,
    }
    return FanOut(**{**known, **fields})  # type: ignore[arg-type]


def outcome(**statuses: int) -> Outcome:
    return Outcome(10, statuses, {"SUCCEEDED": 10}, 10, 0, {200: 10}, 0.1, 0.5, 0.4, 5.0, None)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"started": 99_999}, "1 never started"),
        ({"started_twice": 2}, "2 started twice"),
        ({"last_start_at": 346.0}, "took 346 s, but should take 345 s: the quota allows 329 s"),
    ],
)
def test_lost_jobs_double_starts_and_slow_ticks_are_faults(fields: dict[str, object], said: str) -> None:
    assert list(page.faults([], [(CASE, result())], 80)) == []
    [fault] = page.faults([], [(CASE, result(**fields))], 80)
    assert said in fault


def test_an_invocation_that_takes_too_much_memory_is_a_fault() -> None:
    assert list(page.faults([], [], 256)) == []
    [fault] = page.faults([], [], 257)
    assert "took 257 MB" in fault


def test_an_execution_that_does_not_succeed_is_a_fault() -> None:
    assert list(page.faults([outcome(success=10)], [], 80)) == []
    [fault] = page.faults([outcome(success=9, timeout=1)], [], 80)
    assert "'timeout': 1" in fault


def test_the_page_shows_each_fan_out_and_the_plots_render() -> None:
    found = [(CASE, result()), (page.Case(EXPRESS, 100_000, 40, 0.003), result(last_start_at=33.0))]
    cost = Cost(0.0007, 0.0012, 0.04)
    text = page.page_of([outcome(success=10)], found, Lambda(1024, 900), cost, 81)
    assert re.search(
        r"\| standard \| us-east-1, us-west-2, eu-west-1 \| +100000 \| as here +\| +331 \|", text
    ), text
    assert re.search(r"\| express +\| all regions +\| +100000 \| 3 +\| +33 \|", text), text
    assert "about 3,240,000 jobs" in text
    charts = (
        page.starts_over_time(found),
        page.growth([outcome(success=10)], found),
        page.last_starts(found),
    )
    for chart in charts:
        assert b"<svg" in chart.render()
