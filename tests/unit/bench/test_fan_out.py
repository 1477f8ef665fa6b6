import re

import pytest

from bench import fan_out as page
from bench.start_quota import LARGE_REGIONS, FanOut, Lambda, Quota, fan_out
from bench.virtual_time import VirtualTime
from local.crowd import Outcome

SMALL = Quota("nowhere", 100, 50)
CPU_SECONDS = 0.001


def test_sleeps_end_in_their_order_and_take_no_time() -> None:
    clock = VirtualTime()
    ended: list[tuple[float, int]] = []

    def work(number: int) -> None:
        clock.sleep(3600.0 / number)
        ended.append((clock.now(), number))

    with clock.pool(3) as pool:
        list(pool.map(work, [1, 2, 3, 4]))
    assert ended == [(1200.0, 3), (1800.0, 2), (2100.0, 4), (3600.0, 1)]


def test_the_thread_that_starts_work_sleeps_in_the_same_time() -> None:
    clock = VirtualTime()
    clock.sleep(5)
    with clock.pool(2) as pool:
        list(pool.map(clock.sleep, [1, 2]))
    clock.sleep(1)
    assert clock.now() == 8


def test_all_jobs_are_started_once_within_the_quotas_own_time() -> None:
    found = fan_out(400, SMALL, Lambda(1769), CPU_SECONDS)
    assert (found.started, found.started_twice, found.lost) == (400, 0, 0)
    assert found.throttled > 0
    assert SMALL.seconds_for(400) == 6 <= found.last_start_at < 20
    assert sum(found.starts_each_10_seconds) == 400


def test_a_burst_that_the_quota_lets_go_is_not_throttled() -> None:
    found = fan_out(100, SMALL, Lambda(1769), CPU_SECONDS)
    assert (found.started, found.throttled, found.invocations) == (100, 0, 1)


def test_a_small_share_of_a_cpu_is_what_limits_it() -> None:
    quick, slow = (fan_out(300, LARGE_REGIONS, Lambda(mb), 0.01) for mb in (1769, 177))
    assert slow.last_start_at - 1 == pytest.approx(10 * (quick.last_start_at - 1), rel=0.1)


def test_the_rest_of_a_tick_is_handed_on_and_nothing_is_lost() -> None:
    found = fan_out(2500, LARGE_REGIONS, Lambda(1769, timeout_seconds=181), CPU_SECONDS)
    assert (found.started, found.started_twice) == (2500, 0)
    assert (found.invocations, found.longest_chain) == (3, 3)


def test_a_chain_that_lambda_takes_for_a_loop_is_stopped() -> None:
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
        ({"started": 99_999}, "1 were not started"),
        ({"started_twice": 2}, "2 twice"),
        ({"last_start_at": 500.0}, "took 500 s, while the quota wants 329 s"),
    ],
)
def test_what_must_not_be_is_told(fields: dict[str, object], said: str) -> None:
    assert list(page.faults([], [(LARGE_REGIONS, result())])) == []
    [fault] = page.faults([], [(LARGE_REGIONS, result(**fields))])
    assert said in fault


def test_an_execution_that_did_not_succeed_is_told() -> None:
    assert list(page.faults([outcome(success=10)], [])) == []
    [fault] = page.faults([outcome(success=9, timeout=1)], [])
    assert "'timeout': 1" in fault


def test_the_page_and_its_plots_show_each_fan_out() -> None:
    found = [(LARGE_REGIONS, result())]
    text = page.page_of([outcome(success=10)], found, Lambda(1024, 900), 0.0009)
    assert re.search(r"\| us-east-1, us-west-2, eu-west-1 \| 100000 \| +331 \|", text), text
    assert "some 3,456,000 jobs" in text
    for chart in (page.starts_over_time(found), page.growth([outcome(success=10)], found)):
        assert b"<svg" in chart.render()
