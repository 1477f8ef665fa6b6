"""Runs of which the plan is written by hand: of executions that wait for a lock, a slot, or their time."""

from itertools import pairwise

import pytest

from jobmanager.core.names import execution_id, job_guid
from tests.simulation.calls import DIES_AFTER, DIES_BEFORE
from tests.simulation.plan import LIMIT, SERVICE, Action
from tests.simulation.run import Schedule, by_schedule
from tests.simulation.scenario import (
    BODY,
    DEATHS,
    JOB,
    NAME,
    TYPES,
    calls_of_the_service,
    choices_made,
    idle,
    limit,
    names_notified,
    outcome_of,
    put,
    ran,
    runs,
    seconds_notified,
)
from tests.simulation.seams import Seams
from tests.simulation.telling import told
from tests.simulation.timings import START_MS

UNDISTURBED = 2
"""A seed of runs of which it is looked at how long an execution waits."""
OTHER = Action(
    "make another", 1000, "put", "job-1", {**BODY, "enabled": False, "exclusive": False, "limit": LIMIT}
)


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
    """The change asks for its turn, long before the other one has ended."""
    long = {"ttl_seconds": 800, "max_duration_seconds": 1000}
    actions = [idle("standard", overlap="queue_all", **long), *runs(2, 10_000)]
    first = choices_made(lambda: outcome_of(seams, *actions), "is silent")[0]
    allow = put("allow", 20_000, "standard", enabled=False, overlap="allow", **long)
    outcome = ran(seams, *actions, allow, odd={first: "is silent"})

    assert outcome.statuses == {"success": 1, "timeout": 1}
    assert not [line for line in outcome.story if "ends with Contended" in line]
    ends = [line for line in outcome.story if "logs: execution finished" in line]
    assert ["status=success" in line for line in ends] == [True, False]


def test_one_that_waits_for_the_lock_of_a_job_that_comes_to_allow_overlap_runs_at_once(seams: Seams) -> None:
    """The promise that nothing is free for long while an execution waits for it holds here, too."""
    long = {"ttl_seconds": 800, "max_duration_seconds": 1000}
    actions = [idle("standard", overlap="queue_all", **long), *runs(2, 10_000)]
    first = choices_made(lambda: outcome_of(seams, *actions, seed=UNDISTURBED), "is silent")[0]
    allow = put("allow", 15_000, "standard", enabled=False, overlap="allow", **long)
    outcome = ran(seams, *actions, allow, odd={first: "is silent"}, seed=UNDISTURBED)
    assert outcome.statuses == {"success": 1, "timeout": 1}


def test_a_limit_that_is_made_again_while_others_wait_for_the_one_before_counts_right(seams: Seams) -> None:
    body = {**idle("standard", limit=LIMIT).body}
    free = {name: value for name, value in body.items() if name != "limit"}
    again = {"without": {JOB: free}, "limit": {"slots": 1}, "with": {JOB: body}}
    actions = [limit(slots=1), idle("standard", limit=LIMIT), *runs(4, 10_000)]
    for at_ms in (10_200, 10_500, 11_400):
        outcome = ran(seams, *actions, Action("again", at_ms, "make the limit again", body=again))
        assert outcome.statuses == {"success": 4}


@pytest.mark.samples(1)
@pytest.mark.parametrize("workflow_type", TYPES)
def test_two_hundred_starts_against_three_slots_all_run_once_and_three_at_a_time(
    seams: Seams, workflow_type: str
) -> None:
    """Their callbacks come late and twice, and functions are killed. The promises count those that run."""
    jobs = [f"job-{number}" for number in range(200)]
    body = {**BODY, "exclusive": False, "limit": LIMIT, "workflow_type": workflow_type}
    body |= {"schedule": "cron(1 * * * ? *)", "ttl_seconds": 60, "max_duration_seconds": 200}
    made = [Action(f"make {job}", 1000 + 100 * n, "put", job, body) for n, job in enumerate(jobs)]
    actions = (limit(slots=3), *made)
    names = [execution_id(job_guid(SERVICE, job), START_MS + 60_000) for job in jobs]
    odd = {f"service {name} 1": "succeeds twice" for name in names[::7]}
    odd |= {f"service {name} 1": "is silent" for name in names[3::40]}
    for name in names[1::20]:
        odd[f"request receive_callback callback {name} 1 1 1 ~"] = "happens 9 s late"
        odd[f"receive_callback callback {name} 1 1 1: UpdateItem 2"] = DIES_AFTER
    outcome = by_schedule(Schedule(1, actions, odd), seams.handlers, is_told=True)

    assert outcome.broken == [], "\n".join(told(outcome))
    assert calls_of_the_service(outcome) == 200
    assert outcome.statuses == {"success": 195, "timeout": 5}


@pytest.mark.parametrize("workflow_type", TYPES)
def test_a_queue_of_one_runs_the_first_and_the_last_of_twenty(seams: Seams, workflow_type: str) -> None:
    actions = [idle(workflow_type, overlap="queue_one"), *runs(20, 10_000, every_ms=70)]
    outcome = ran(seams, *actions)

    assert outcome.statuses == {"success": 2, "skipped": 18}
    first, last = names_notified(outcome)
    skips = [line for line in outcome.story if "Publish execution.skipped" in line]
    assert all(first < line.split("execution.skipped ")[1].partition(":")[0] < last for line in skips)


@pytest.mark.parametrize("workflow_type", TYPES)
def test_a_queue_of_all_runs_twenty_one_after_the_other(seams: Seams, workflow_type: str) -> None:
    outcome = ran(seams, idle(workflow_type, overlap="queue_all"), *runs(20, 10_000, every_ms=70))

    assert outcome.statuses == {"success": 20}
    notified = names_notified(outcome)
    assert len(notified) == 20
    assert notified == sorted(notified)


def test_of_more_than_a_hundred_that_wait_for_a_lock_the_last_are_refused(seams: Seams) -> None:
    first = "standard"
    outcome = ran(seams, idle(first, overlap="queue_all"), *runs(110, 10_000, every_ms=10))

    refused = [line for line in outcome.story if "100 executions wait for the lock already" in line]
    assert refused
    assert sum(outcome.statuses.values()) + len(refused) == 110
    assert outcome.statuses == {"success": 110 - len(refused)}


@pytest.mark.parametrize("workflow_type", TYPES)
def test_the_one_that_runs_is_cancelled_and_its_callback_refused(seams: Seams, workflow_type: str) -> None:
    actions = [idle(workflow_type, overlap="cancel_running"), *runs(3, 10_000, every_ms=700)]
    outcome = ran(seams, *actions)

    assert outcome.statuses == {"success": 1, "cancelled": 2}
    answers = [line.rpartition("is answered ")[2] for line in outcome.story if "callback" in line]
    assert [answer for answer in answers if answer in ("200", "410")] == ["410", "410", "200"]


@pytest.mark.samples(2)
@pytest.mark.parametrize("workflow_type", TYPES)
@pytest.mark.parametrize("overlap", ["queue_one", "queue_all", "cancel_running"])
def test_a_function_that_gives_a_turn_may_be_killed_at_any_call(
    seams: Seams, workflow_type: str, overlap: str
) -> None:
    """The execution starts, and its service is notified once."""
    body = {"limit": LIMIT, "ttl_seconds": 120}
    actions = [limit(slots=1), idle(workflow_type, overlap=overlap, **body), *runs(2, 10_000, every_ms=400)]
    first = choices_made(lambda: outcome_of(seams, *actions), "is silent")[0]
    # One that is to be cancelled must not end before the function is tried again.
    silent = {first: "is silent"} if overlap == "cancel_running" else {}
    calm = ran(seams, *actions, odd=silent)
    calls = choices_made(
        lambda: outcome_of(seams, *actions, odd=silent), DIES_BEFORE, "start_waiting_executions by"
    )
    assert len(calls) > 8
    for call in calls:
        for death in DEATHS:
            outcome = ran(seams, *actions, odd={**silent, call: death})
            assert outcome.statuses == calm.statuses, (call, death)
            assert calls_of_the_service(outcome) == 2, (call, death)


@pytest.mark.parametrize("workflow_type", TYPES)
def test_the_sweep_starts_one_whose_turn_has_come_before_it_counts_as_dead(
    seams: Seams, workflow_type: str
) -> None:
    """However short its ttl_seconds is, and whenever the sweep comes."""
    actions = [idle(workflow_type, overlap="queue_all", ttl_seconds=10), *runs(2, 10_000)]
    calls = choices_made(
        lambda: outcome_of(seams, *actions), DIES_BEFORE, "start_waiting_executions by receive_callback"
    )
    (start,) = (call for call in calls if call.endswith("StartExecution 1"))
    for seed in range(10):
        outcome = ran(seams, *actions, odd={start: DIES_BEFORE}, seed=seed)
        assert outcome.statuses == {"success": 2}


@pytest.mark.parametrize("workflow_type", TYPES)
def test_one_whose_turn_has_come_starts_although_a_sweep_dies_too(seams: Seams, workflow_type: str) -> None:
    """It is overdue before the next sweep looks at it. No service was silent, so it runs all the same."""
    actions = [idle(workflow_type, overlap="queue_all", ttl_seconds=10), *runs(2, 10_000)]
    calls = choices_made(
        lambda: outcome_of(seams, *actions), DIES_BEFORE, "start_waiting_executions by receive_callback"
    )
    (start,) = (call for call in calls if call.endswith("StartExecution 1"))
    of_sweeps = choices_made(
        lambda: outcome_of(seams, *actions, odd={start: DIES_BEFORE}), DIES_BEFORE, "reap_executions"
    )
    changing = [call for call in of_sweeps if "UpdateItem" in call or "StartExecution" in call]
    assert len(changing) >= 2
    for call in changing:
        for death in DEATHS:
            outcome = ran(seams, *actions, odd={start: DIES_BEFORE, call: death})
            assert outcome.statuses == {"success": 2}, (call, death)


@pytest.mark.parametrize("call", ["TransactWriteItems 1", "Invoke 1"])
def test_a_function_that_lets_an_execution_wait_may_be_killed(seams: Seams, call: str) -> None:
    """The sweep asks for its turn, if the next try does not."""
    actions = [put("make", 1000, "standard", overlap="cancel_running"), *runs(1, 59_500)]
    first = choices_made(lambda: outcome_of(seams, *actions), "is silent")[0]
    for death in DEATHS:
        killed = {f"run_execution {NAME} RunJob 1: {call}": death}
        outcome = ran(seams, *actions, odd={first: "is silent", **killed})
        assert outcome.statuses == {"cancelled": 1, "success": 1}


def test_no_execution_begins_while_more_run_than_a_lowered_limit_allows(seams: Seams) -> None:
    lower = Action("lower", 10_700, "change the limit", body={"slots": 1})
    actions = [limit(slots=3), idle("standard", limit=LIMIT), *runs(8, 10_000), lower]
    outcome = ran(seams, *actions)

    assert outcome.statuses == {"success": 8}
    times = seconds_notified(outcome)
    assert all(later - earlier > 1.4 for earlier, later in pairwise(times[3:]))


def test_those_that_wait_begin_as_soon_as_a_limit_is_raised(seams: Seams) -> None:
    rise = Action("rise", 10_700, "change the limit", body={"slots": 8})
    actions = [limit(slots=1), idle("standard", limit=LIMIT), *runs(8, 10_000), rise]
    outcome = ran(seams, *actions)

    times = seconds_notified(outcome)
    assert len(times) == 8
    assert times[-1] - times[1] < 1


def test_a_deleted_limit_lets_all_begin_that_wait_for_it(seams: Seams) -> None:
    free = {JOB: idle("standard").body}
    delete = Action("delete", 10_500, "make the limit again", body={"without": free})
    outcome = ran(seams, limit(slots=1), idle("standard", limit=LIMIT), *runs(8, 10_000), delete)

    assert outcome.statuses == {"success": 8}
    times = seconds_notified(outcome)
    assert times[-1] - times[1] < 1


@pytest.mark.parametrize("workflow_type", TYPES)
def test_the_slot_and_the_lock_of_one_whose_machine_died_are_given_to_the_next(
    seams: Seams, workflow_type: str
) -> None:
    """The sweep finds that it is dead once its deadline has passed."""
    actions = [
        limit(slots=1),
        put("make", 1000, workflow_type, overlap="queue_all", limit=LIMIT),
        *runs(1, 63_000),
        Action("stop", 62_000, "stop the machine", JOB),
    ]
    outcome = ran(
        seams, *actions, odd={f"service {NAME} 1": "is silent", f"machine {NAME} 1": "hears of no end"}
    )
    assert outcome.statuses == {"success": 1, "timeout": 1}


def test_no_more_services_are_notified_in_a_second_than_a_limit_allows(seams: Seams) -> None:
    outcome = ran(seams, limit(per_second=2), idle("express", limit=LIMIT), *runs(9, 10_000))

    times = seconds_notified(outcome)
    assert len(times) == 9
    assert all(later - earlier > 0.9 for earlier, later in zip(times, times[2:], strict=False))


def test_one_that_waits_does_not_run_for_another_job_of_the_same_name(seams: Seams) -> None:
    make = idle("standard", overlap="queue_all")
    actions = [
        make,
        *runs(2, 10_000),
        Action("delete", 10_300, "delete", JOB),
        Action("make again", 13_000, "put", JOB, make.body),
    ]
    first = choices_made(lambda: outcome_of(seams, *actions), "is silent")[0]
    outcome = ran(seams, *actions, odd={first: "is silent"})
    assert outcome.statuses == {"timeout": 1, "skipped": 1}


def test_a_slot_is_not_taken_by_one_that_found_it_free_before_others_came_to_wait(seams: Seams) -> None:
    actions = [limit(slots=1), idle("standard", limit=LIMIT), *runs(2, 10_100, name="other")]
    (look,) = choices_made(
        lambda: outcome_of(seams, *actions),
        "comes twice",
        "start_waiting_executions by receive_callback",
    )
    outcome = ran(
        seams,
        *actions,
        *runs(1, 10_000, name="slow"),
        odd={
            "start_execution slow 0 1: TransactWriteItems 1 ~": "happens 3 s late",
            f"{look.removesuffix(' event')} delivery": "happens 9 s late",
        },
    )
    assert outcome.statuses == {"success": 3}


def test_two_looks_at_the_time_of_one_start_it_once(seams: Seams) -> None:
    actions = [limit(per_second=1), idle("standard", limit=LIMIT), *runs(4, 10_000)]
    looks = choices_made(
        lambda: outcome_of(seams, *actions), "comes twice", "start_waiting_executions by start_spread"
    )
    assert looks
    for look in looks:
        slow = f"{look.removesuffix(' event')} again: TransactWriteItems 1 ~"
        for delay in ("happens 50 ms late", "happens 300 ms late", "happens 1 s late"):
            outcome = ran(seams, *actions, odd={look: "comes twice", slow: delay})
            assert (outcome.statuses, calls_of_the_service(outcome)) == ({"success": 4}, 4)


@pytest.mark.parametrize("needed", [{"overlap": "queue_all"}, {"limit": LIMIT}])
def test_nobody_waits_for_what_is_free_by_the_time_that_would_be_written(
    seams: Seams, needed: dict[str, str]
) -> None:
    actions = [limit(slots=1), idle("standard", **needed), *runs(2, 10_000, every_ms=500)]
    outcome = ran(
        seams,
        *actions,
        odd={"start_execution run 1 1: TransactWriteItems 1 ~": "happens 3 s late"},
    )
    assert outcome.statuses == {"success": 2}
    assert not [line for line in outcome.story if "start_waiting_executions" in line]
