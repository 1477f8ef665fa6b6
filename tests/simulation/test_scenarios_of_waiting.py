"""Runs of which the plan is written by hand: of executions that wait for a lock, a slot, or their time."""

from collections.abc import Iterator

import pytest

from tests.simulation.plan import LIMIT, Action
from tests.simulation.scenario import BODY, JOB, choices_made, idle, limit, outcome_of, put, ran, runs
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


def test_one_that_waits_for_the_lock_of_a_job_runs_without_it_once_the_job_allows_overlap(
    seams: Seams,
) -> None:
    """The sweep looks at it, long before the other one has ended."""
    long = {"ttl_seconds": 800, "max_duration_seconds": 1000}
    actions = [idle("standard", overlap="queue_all", **long), *runs(2, 10_000)]
    first = choices_made(lambda: outcome_of(seams, *actions), "is silent")[0]
    allow = put("allow", 20_000, "standard", enabled=False, overlap="allow", **long)
    outcome = ran(seams, *actions, allow, odd={first: "is silent"})

    assert outcome.statuses == {"success": 1, "timeout": 1}
    assert not [line for line in outcome.story if "ends with Contended" in line]
    ends = [line for line in outcome.story if "logs: execution finished" in line]
    assert ["status=success" in line for line in ends] == [True, False]


def test_a_limit_that_is_made_again_while_others_wait_for_the_one_before_counts_right(seams: Seams) -> None:
    body = {**idle("standard", limit=LIMIT).body}
    free = {name: value for name, value in body.items() if name != "limit"}
    again = {"without": {JOB: free}, "limit": {"slots": 1}, "with": {JOB: body}}
    actions = [limit(slots=1), idle("standard", limit=LIMIT), *runs(4, 10_000)]
    for at_ms in (10_200, 10_500, 11_400):
        outcome = ran(seams, *actions, Action("again", at_ms, "make the limit again", body=again))
        assert outcome.statuses == {"success": 4}
