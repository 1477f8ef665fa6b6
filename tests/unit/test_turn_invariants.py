"""The invariants of waiting executions detect what is wrong."""

from typing import Any

import pytest

from tests.integration.invariants import Service
from tests.integration.turn_invariants import wrong_turns

type Json = dict[str, Any]

MADE = "2026-11-23T12:00:00Z"
AFTER_MS = 1_795_435_210_000
QUEUE = "limit#billing/db"


def record(name: str, **fields: Any) -> Json:
    common = {"execution_id": name, "job_guid": "guid", "service_name": "billing", "limit": "db"}
    return {**common, "status": "running", "started_at_ms": AFTER_MS, **fields}


def waiting(name: str, waits_for: str) -> Json:
    return record(name, status="waiting", waits_for=waits_for, waiting_since_ms=AFTER_MS)


def service(**changes: Any) -> Service:
    """A service of which one execution holds the lock and the slot, and one waits for each."""
    job = {"job_key": "billing/nightly", "job_guid": "guid", "waiting_count": 1}
    limit = {
        "service_name": "billing",
        "limit_name": "db",
        "created_at": MADE,
        "holders": {"holds"},
        "waiting_count": 1,
    }
    records = [record("holds", holds_slot=True), waiting("second", "lock"), waiting("third", "slot")]
    told: Json = {
        "jobs": [job],
        "records": records,
        "limits": [limit],
        "queues": {"guid": ["second"], QUEUE: ["third"]},
    }
    return Service(**{**told, **{name: change(told[name]) for name, change in changes.items()}})


def test_nothing_is_wrong_with_what_waits_as_it_should() -> None:
    assert list(wrong_turns(service())) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"queues": lambda queues: {"guid": ["second"]}},
            f"[] are in the queue {QUEUE}, and ['third'] wait in it",
        ),
        (
            {"queues": lambda queues: {**queues, "guid": ["second", "ended"]}},
            "['ended', 'second'] are in the queue guid, and ['second'] wait in it",
        ),
        (
            {"jobs": lambda jobs: [{**jobs[0], "waiting_count": 0}]},
            "1 executions wait for the lock of billing/nightly, and 0 are counted",
        ),
        (
            {"limits": lambda limits: [{**limits[0], "waiting_count": 2}]},
            "1 executions wait for a slot of billing/db, and 2 are counted",
        ),
        (
            {"limits": lambda limits: [{**limits[0], "waiting_count": 0}]},
            "1 executions wait for a slot of billing/db, and 0 are counted",
        ),
        (
            {"limits": lambda limits: [{**limits[0], "holders": {"holds", "gone"}}]},
            "gone holds a slot of billing/db, and there is no record of it",
        ),
        (
            {"limits": lambda limits: [{**limits[0], "holders": set()}]},
            "holds runs, and has lost its slot of billing/db",
        ),
        (
            {"records": lambda records: [{**records[0], "status": "fail", "settled_at_ms": 1}, *records[1:]]},
            "holds holds a slot of billing/db, and is fail",
        ),
    ],
)
def test_what_is_wrong_is_said(changes: Json, sentence: str) -> None:
    assert list(wrong_turns(service(**changes))) == [sentence]


def test_a_limit_does_not_know_those_that_came_before_it_was_made() -> None:
    def made_again(limits: list[Json]) -> list[Json]:
        return [{**limits[0], "created_at": "2027-01-01T00:00:00Z", "waiting_count": 0, "holders": set()}]

    assert list(wrong_turns(service(limits=made_again))) == []
