"""The lock of an exclusive job follows the record of the execution that holds it."""

from typing import Any

import pytest

from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.lock_extension import hold_lock
from jobmanager.executions.record import Execution
from jobmanager.jobs import lock
from jobmanager.jobs import store as jobs
from tests.unit.functions.examples import NOON_MS, due, save_job

pytestmark = pytest.mark.usefixtures("cloud")
NOON = NOON_MS // 1000


def running(**fields: Any) -> Execution:
    """An execution that began at noon; its lock lasts for five minutes."""
    save_job(ttl_seconds=300, **fields)
    begin(due(), NOON_MS)
    record = executions.find(due()["execution_id"])
    assert record is not None
    return record


def expiry() -> int | None:
    return jobs.read("billing", "nightly").get("lock_expires_at")


@pytest.mark.parametrize("seconds", [600, 300, 60])
def test_the_lock_becomes_longer_and_shorter(seconds: int) -> None:
    record = running(exclusive=True)
    assert hold_lock(record, NOON + seconds)
    assert expiry() == NOON + seconds


def test_it_does_not_become_shorter_if_somebody_has_extended_it_since() -> None:
    record = running(exclusive=True)
    lock.extend("billing", "nightly", record["execution_id"], NOON + 900)
    assert hold_lock(record, NOON + 60)
    assert expiry() == NOON + 900


def test_it_lasts_longer_if_another_attempt_may_follow_a_timeout() -> None:
    record = running(exclusive=True, retry={"max_attempts": 2, "on": ["timeout"]})
    assert hold_lock(record, NOON + 600)
    assert expiry() == NOON + 660


def test_it_is_not_held_by_who_has_lost_it() -> None:
    record = running(exclusive=True)
    begin(due(at_ms=NOON_MS + 301_000), NOON_MS + 301_000)
    assert not hold_lock(record, NOON + 600)
    assert expiry() == NOON + 601


def test_a_job_that_allows_overlap_has_no_lock() -> None:
    assert hold_lock(running(exclusive=False), NOON + 600)
    assert expiry() is None
