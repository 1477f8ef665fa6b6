"""Jobs that fire by themselves: what a life plans, and what its check finds."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobmanager.core.clock import ms_of_iso
from tests.clock_model import MINUTE_MS, Fires
from tests.life.checks.known import Known
from tests.life.checks.timed import timed_jobs as broken
from tests.life.journal import Asked, Journal
from tests.life.living import Job, TimedJob
from tests.life.timed import KINDS, timed_jobs

NOON_MS = ms_of_iso("2026-11-23T12:00:00Z")
BODY = {"schedule": "cron(45-50 17 * * ? *)", "time_zone": "Asia/Kathmandu", "spread_seconds": 20}


@pytest.mark.parametrize("seed", range(30))
def test_every_timed_job_of_a_life_is_due_while_it_lasts(seed: int) -> None:
    jobs = timed_jobs(seed, NOON_MS + 12_345, 300)
    assert len(jobs) == len(KINDS)
    for name, body in jobs.items():
        times = list(Fires.of(body).between(NOON_MS, NOON_MS + 7 * MINUTE_MS))
        # A bound may lie before the first whole minute, or after the last one.
        assert times or name in ("timed-until", "timed-from", "timed-rate-from"), body
    assert jobs == timed_jobs(seed, NOON_MS + 12_345, 300)


def record(minute: int, **changes: Any) -> dict[str, Any]:
    at_ms = NOON_MS + minute * MINUTE_MS
    starts_at = f"2026-11-23T12:{minute:02}:07Z"
    return {
        "execution_id": f"e-{minute}",
        "status": "success",
        "scheduled_time_ms": at_ms,
        "scheduled_time": f"2026-11-23T12:{minute:02}:00Z",
        "starts_at": starts_at,
        "started_at_ms": at_ms + 7100,
        **changes,
    }


def faults(records: list[dict[str, Any]]) -> list[str]:
    journal = Journal()
    journal.begin(Asked(job="timed", what="put", sent_ms=NOON_MS - 30_000, answered_ms=NOON_MS - 20_000))
    journal.begin(Asked(job="timed", what="pause", sent_ms=NOON_MS + 4 * MINUTE_MS + 1000))
    job = TimedJob(Job("timed", "guid"), BODY)
    life = SimpleNamespace(timed={"timed": job}, journal=journal)
    known = SimpleNamespace(life=life, of_job=lambda _: records, late_ms=lambda *_: 0)
    return [what for what, _ in broken(cast(Known, known))]


def test_a_timed_job_runs_once_at_each_of_its_times_and_at_no_other() -> None:
    all_times = [record(minute) for minute in range(4)]
    assert faults(all_times) == []
    assert "ran 0 times for 2026-11-23T12:02:00Z" in faults([*all_times[:2], all_times[3]])[0]
    assert "ran 2 times for 2026-11-23T12:01:00Z" in faults([*all_times, record(1)])[0]
    assert "is of no time" in faults([*all_times, record(9)])[0]
    early = record(3, started_at_ms=NOON_MS + 3 * MINUTE_MS + 6000)
    assert "is spread by 7000 ms" in faults([*all_times[:3], early])[0]
    assert (
        "is spread by 27000 ms" in faults([*all_times[:3], record(3, starts_at="2026-11-23T12:03:27Z")])[-1]
    )
