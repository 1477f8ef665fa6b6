"""Runs of which the plan is written by hand: executions that wait for a lock, for a slot, or for their time."""

from collections.abc import Iterator

import pytest

from tests.simulation.plan import LIMIT, Action
from tests.simulation.scenario import BODY, idle, choices_made, limit, outcome_of, ran, runs
from tests.simulation.seams import Seams

OTHER = Action(
    "make another", 1000, "put", "job-1", {**BODY, "enabled": False, "exclusive": False, "limit": LIMIT}
)


@pytest.fixture
def seams() -> Iterator[Seams]:
    with Seams() as found:
        yield found


def test_two_looks_at_a_queue_do_not_start_what_waits_for_its_time_since(seams: Seams) -> None:
    """One of them gives the lock. The other finds an execution that has it, and now waits for its time."""
    actions = [
        limit(per_second=1),
        idle("standard", overlap="queue_all", limit=LIMIT),
        OTHER,
        *runs(3, 10_000),
        *runs(6, 11_000, name="burst", job="job-1"),
    ]
    looks = choices_made(
        lambda: outcome_of(seams, *actions), "comes twice", "start_waiting_executions by receive_callback"
    )
    assert looks
    for look in looks:
        slow = f"{look.removesuffix(' event')} again: Query 1 ~"
        ran(seams, *actions, odd={look: "comes twice", slow: "is answered 300 ms late"})


def test_a_look_that_takes_seconds_starts_executions_at_their_time(seams: Seams) -> None:
    """Else they would seem to start before they were asked for, and their ttl_seconds would be shorter."""
    actions = [idle("standard", overlap="queue_one"), *runs(2, 10_000), *runs(1, 13_000, name="last")]
    look, *_ = choices_made(
        lambda: outcome_of(seams, *actions), "comes twice", "start_waiting_executions by receive_callback"
    )
    outcome = ran(
        seams,
        *actions,
        odd={
            f"{look.removesuffix(' event')}: Query 1 ~": "happens 3 s late",
            "start_waiting_executions by start_execution last 0 1 1 delivery": "happens 9 s late",
        },
    )
    assert outcome.statuses == {"success": 2, "skipped": 1}
