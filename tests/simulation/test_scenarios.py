"""Runs of which the plan is written by hand, where chance seldom leads."""

from zoneinfo import available_timezones

import pytest

from tests.exhaustive import cases
from tests.simulation.choices import Choices
from tests.simulation.plan import Action
from tests.simulation.run import Schedule, by_schedule
from tests.simulation.scenario import (
    BODY,
    JOB,
    NAME,
    SUCCEEDS_LATE,
    TYPES,
    calls_of_the_service,
    choices_made,
    idle,
    names_notified,
    outcome_of,
    put,
    ran,
    runs,
)
from tests.simulation.seams import Seams
from tests.simulation.telling import told


@pytest.mark.parametrize("workflow_type", TYPES)
def test_five_equal_ticks_are_one_execution_and_one_notification(seams: Seams, workflow_type: str) -> None:
    for seed in range(20):
        ticks = [Action(f"tick {number}", 60_500, "tick again", JOB) for number in range(4)]
        outcome = ran(seams, put("make", 1000, workflow_type), *ticks, seed=seed)
        assert (outcome.statuses, calls_of_the_service(outcome)) == ({"success": 1}, 1)


@pytest.mark.samples(1)
@pytest.mark.parametrize("workflow_type", TYPES)
def test_the_end_of_a_diamond_runs_once_whatever_is_repeated_or_fails(
    seams: Seams, workflow_type: str
) -> None:
    without = {name: value for name, value in BODY.items() if name != "schedule"}

    def after(job_name: str, at_ms: int, *parents: str) -> Action:
        chained = {**without, "after": [{"job": parent} for parent in parents]}
        return Action(f"make {job_name}", at_ms, "put", job_name, chained | {"workflow_type": workflow_type})

    for seed in range(40):
        outcome = ran(
            seams,
            put("make", 1000, workflow_type),
            after("job-1", 8000, JOB),
            after("job-2", 15_000, JOB),
            after("job-3", 25_000, "job-1", "job-2"),
            seed=seed,
        )
        assert (outcome.statuses, calls_of_the_service(outcome)) == ({"success": 4}, 4)


@pytest.mark.parametrize(("before", "now"), [([JOB], [JOB, "job-1"]), ([JOB, "job-1"], [JOB])])
def test_an_end_is_used_once_although_start_children_comes_again_once_its_job_has_changed(
    seams: Seams, before: list[str], now: list[str]
) -> None:
    other = Action("make another", 1500, "put", "job-1", {**BODY, "enabled": False})
    actions = [
        idle("standard"),
        other,
        follow("follow", 8000, "job-2", *before),
        *runs(1, 18_000, name="other", job="job-1"),
        *runs(1, 20_000),
        follow("change", 25_000, "job-2", *now),
        *runs(1, 40_000, name="other again", job="job-1"),
    ]
    ends = choices_made(
        lambda: outcome_of(seams, *actions), "comes twice", "start_children by receive_callback"
    )
    for end in ends:
        late = f"{end.removesuffix(' event')} again delivery"
        outcome = ran(seams, *actions, odd={end: "comes twice", late: "happens 9 s late"})
        assert outcome.statuses == {"success": 4}


def test_an_end_whose_start_failed_is_used_once_although_its_job_has_changed_before_the_retry(
    seams: Seams,
) -> None:
    actions = [
        idle("standard"),
        Action("make another", 1500, "put", "job-1", {**BODY, "enabled": False}),
        follow("follow", 8000, "job-2", JOB, "job-1"),
        *runs(1, 18_000, name="other", job="job-1"),
        *runs(1, 20_000),
        follow("change", 25_000, "job-2", JOB),
    ]
    starts = choices_made(
        lambda: outcome_of(seams, *actions), "is throttled", "start_children by receive_callback"
    )
    (start,) = (each for each in starts if "StartExecution" in each)
    outcome = ran(seams, *actions, odd={start: "is throttled"})
    assert outcome.statuses == {"success": 2, "skipped": 1}


def test_a_job_that_came_to_run_after_one_while_that_was_deleted_is_told_of(seams: Seams) -> None:
    outcome = ran(
        seams,
        idle("standard"),
        Action("delete", 10_000, "delete", JOB),
        follow("follow", 10_020, "job-1", JOB),
        odd={"delete_job delete 1: TransactWriteItems 1 ~": "happens 300 ms late"},
    )
    assert [line for line in outcome.story if "Publish job.orphaned" in line]


def follow(label: str, at_ms: int, job_name: str, *parents: str) -> Action:
    """Makes or changes a job that runs after others."""
    fields = {name: value for name, value in BODY.items() if name != "schedule"}
    after = [{"job": parent} for parent in parents]
    return Action(label, at_ms, "put", job_name, {**fields, "after": after})


def test_a_job_may_run_twice_after_two_ends_in_one_second(seams: Seams) -> None:
    """Its executions have the same scheduled_time, which has no milliseconds."""
    outcome = ran(seams, idle("standard"), follow("follow", 8000, "job-1", JOB), *runs(2, 20_000))
    assert outcome.statuses == {"success": 4}
    times = {name.split("-")[-2] for name in names_notified(outcome)[2:]}
    assert len(times) == 1


@pytest.mark.parametrize(("before", "after"), [TYPES, TYPES[::-1]])
@pytest.mark.parametrize("conduct", [SUCCEEDS_LATE, "beats and succeeds", "is silent"])
def test_a_tick_that_comes_twice_while_its_job_changes_its_type_notifies_once(
    seams: Seams, before: str, after: str, conduct: str
) -> None:
    start = " 1" if before == "express" else ""
    outcome = ran(
        seams,
        put("make", 1000, before),
        put("change", 61_500, after),
        Action("again", 63_500, "tick again", JOB),
        odd={
            f"run_execution {NAME}{start} RunJob 1: webhook 1 ~": "is answered 9 s late",
            f"service {NAME} 1": conduct,
        },
    )
    assert (outcome.executions, calls_of_the_service(outcome)) == (1, 1)


@pytest.mark.parametrize(
    ("odd", "calls"),
    [("webhook 1 ~: is answered 9 s late", 1), ("webhook 1: answers 429 and asks to wait 4 s", 2)],
)
def test_a_request_that_is_repeated_does_not_start_what_runs(seams: Seams, odd: str, calls: int) -> None:
    # A ttl in which a minute is left to begin again after the wait.
    patient = put("make", 1000, "express", enabled=False, ttl_seconds=120)
    actions = patient, Action("now", 10_000, "run now", JOB)
    (name,) = {line.split()[2] for line in ran(seams, *actions).story if "RunJob 1: begins" in line}
    call, _, what = odd.partition(": ")
    outcome = ran(
        seams,
        *actions,
        odd={
            "request start_execution now 1": "gets no answer",
            f"run_execution {name} 1 RunJob 1: {call}": what,
            f"service {name} 1": SUCCEEDS_LATE,
        },
    )
    times = [line[:8] for line in outcome.story if "calls the webhook" in line]
    assert (calls_of_the_service(outcome), len(times)) == (1, calls)
    assert not [time for time in times if "12:00:10" < time < "12:00:14"], "sooner than the service asked"


def test_a_lock_is_kept_until_the_sweep_begins_the_next_attempt(seams: Seams) -> None:
    """That may take a minute longer than ``ttl_seconds``."""
    seed = next(number for number in range(100) if 0 < Choices(number).between("sweep", 0, 59_999) < 15_000)
    retry = {"max_attempts": 2, "interval_seconds": 20, "on": ["fail"]}
    outcome = ran(
        seams,
        put("make", 1000, "express", exclusive=True, ttl_seconds=10, max_duration_seconds=400, retry=retry),
        Action("now", 115_000, "run now", JOB),
        odd={f"service {NAME} 1": "fails"},
        seed=seed,
    )
    assert (outcome.statuses, calls_of_the_service(outcome)) == ({"success": 1}, 2), "\n".join(outcome.story)


@pytest.mark.parametrize(
    ("death", "calls"),
    [
        ("dies while its function runs", 1),
        ("dies with its function after 25 ms", 1),  # before the webhook
        ("dies with its function after 35 ms", 2),  # before it notes that the webhook was answered
        ("hears of no end", 1),
    ],
)
def test_a_machine_that_dies_is_found_and_its_service_is_notified_at_most_once_more(
    seams: Seams, death: str, calls: int
) -> None:
    odd = {f"machine {NAME} 1": death, f"service {NAME} 1": SUCCEEDS_LATE}
    outcome = ran(seams, put("make", 1000, "express", ttl_seconds=150), odd=odd)
    assert (outcome.statuses, calls_of_the_service(outcome)) == ({"success": 1}, calls)


@pytest.mark.parametrize("is_async", [True, False])
def test_an_attempt_whose_service_asked_to_be_called_later_is_called_again_however_short_its_ttl(
    seams: Seams, is_async: bool
) -> None:
    """The sweep comes up to a minute later, and the grace of a stage may be short."""
    seed = next(number for number in range(100) if Choices(number).between("sweep", 0, 59_999) > 40_000)
    outcome = ran(
        seams,
        put("make", 1000, "express", **{"async": is_async}, ttl_seconds=10),
        odd={
            "grace of the sweep": "5 s",
            f"run_execution {NAME} 1 RunJob 1: webhook 1": "answers 429 and asks to wait 4 s",
        },
        seed=seed,
    )
    assert (outcome.statuses, calls_of_the_service(outcome)) == ({"success": 1}, 1), "\n".join(outcome.story)


@pytest.mark.samples
def test_many_jobs_in_forty_zones_have_forty_triggers_and_run_once_each(seams: Seams) -> None:
    """Some of these zones have the same rules all year, and still a trigger of their own."""
    jobs = cases(120, 1000)
    zones = sorted(name for name in available_timezones() if name.startswith("Europe/"))[:40]
    actions = [
        Action(
            f"make {number}",
            1000 + 20 * number,
            "put",
            f"job-{number}",
            {**BODY, "schedule": "cron(1 * * * ? *)", "time_zone": zones[number % 40]},
        )
        for number in range(jobs)
    ]
    outcome = by_schedule(Schedule(1, tuple(actions), {}), seams.handlers, is_told=True)

    assert outcome.broken == [], "\n".join(told(outcome))
    fired = [line.partition(": fires for")[0] for line in outcome.story if ": fires for" in line]
    assert (len(zones), len(fired), len(set(fired))) == (40, 40, 40)
    assert (outcome.statuses, calls_of_the_service(outcome)) == ({"success": jobs}, jobs)
