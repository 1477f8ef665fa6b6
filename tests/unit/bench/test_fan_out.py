import re

import pytest

from bench import fan_out as page
from bench.start_quota import LARGE_REGIONS, FanOut, Lambda, Quota, fan_out
from bench.virtual_time import VirtualTime
from local.crowd import Outcome

SMALL = Quota("nowhere", 100, 50)
CPU_SECONDS = 0.001


def test_sleeping_threads_wake_in_the_order_of_their_times() -> None:
    clock = VirtualTime()
    ended: list[tuple[float, int]] = []

    def work(number: int) -> None:
        clock.sleep(3600.0 / number)
        ended.append((clock.now(), number))

    with clock.pool(3) as pool:
        list(pool.map(work, [1, 2, 3, 4]))
    assert ended == [(1200.0, 3), (1800.0, 2), (2100.0, 4), (3600.0, 1)]


def test_the_main_thread_shares_the_clock_with_the_pool() -> None:
    clock = VirtualTime()
    clock.sleep(5)
    with clock.pool(2) as pool:
        list(pool.map(clock.sleep, [1, 2]))
    clock.sleep(1)
    assert clock.now() == 8


def test_all_jobs_start_once_in_about_the_time_that_the_quota_needs() -> None:
    found = fan_out(400, SMALL, Lambda(1769), CPU_SECONDS)
    assert (found.started, found.started_twice, found.lost) == (400, 0, 0)
    assert found.throttled > 0
    assert SMALL.seconds_for(400) == 6 <= found.last_start_at < 20
    assert sum(found.starts_each_10_seconds) == 400


def test_starts_within_the_burst_of_the_quota_are_not_throttled() -> None:
    found = fan_out(100, SMALL, Lambda(1769), CPU_SECONDS)
    assert (found.started, found.throttled, found.invocations) == (100, 0, 1)


def test_a_function_with_a_tenth_of_a_cpu_takes_ten_times_as_long() -> None:
    quick, slow = (fan_out(300, LARGE_REGIONS, Lambda(mb), 0.01) for mb in (1769, 177))
    assert slow.last_start_at - 1 == pytest.approx(10 * (quick.last_start_at - 1), rel=0.1)


def test_an_invocation_near_its_limit_hands_over_the_rest_and_no_job_is_lost() -> None:
    found = fan_out(2500, LARGE_REGIONS, Lambda(1769, timeout_seconds=181), CPU_SECONDS)
    assert (found.started, found.started_twice) == (2500, 0)
    assert (found.invocations, found.longest_chain) == (3, 3)


def test_lambda_stops_a_chain_that_it_takes_for_a_loop() -> None:
    function = Lambda(1769, timeout_seconds=181, longest_chain=2)
    found = fan_out(2500, LARGE_REGIONS, function, CPU_SECONDS)
    assert (found.started, found.lost, found.invocations) == (2000, 500, 2)


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
        "peak_mb": 80.0,
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
        ({"last_start_at": 500.0}, "took 500 s, but the quota allows 329 s"),
    ],
)
def test_lost_jobs_double_starts_and_slow_ticks_are_faults(fields: dict[str, object], said: str) -> None:
    assert list(page.faults([], [(LARGE_REGIONS, result())])) == []
    [fault] = page.faults([], [(LARGE_REGIONS, result(**fields))])
    assert said in fault


def test_an_execution_that_does_not_succeed_is_a_fault() -> None:
    assert list(page.faults([outcome(success=10)], [])) == []
    [fault] = page.faults([outcome(success=9, timeout=1)], [])
    assert "'timeout': 1" in fault


def test_the_page_shows_each_fan_out_and_the_plots_render() -> None:
    found = [(LARGE_REGIONS, result())]
    text = page.page_of([outcome(success=10)], found, Lambda(1024, 900), 0.0009)
    assert re.search(r"\| us-east-1, us-west-2, eu-west-1 \| 100000 \| +331 \|", text), text
    assert "about 3,456,000 jobs" in text
    for chart in (page.starts_over_time(found), page.growth([outcome(success=10)], found)):
        assert b"<svg" in chart.render()
