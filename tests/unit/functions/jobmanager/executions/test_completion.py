"""reconcile_schedules completes jobs: after their last tick, and never while a tick may still start them."""

import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from functions.reconcile_schedules.handler import handler
from jobmanager.aws import invocations, tables
from jobmanager.aws.clients import scheduler as scheduler_client
from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.core.errors import AwsCallFailed, ReconcileIncomplete
from jobmanager.executions.begin import begin
from jobmanager.executions.completion import Completions, complete_jobs
from jobmanager.jobs import changes, store
from jobmanager.jobs import events as job_events
from jobmanager.jobs.definition import Job
from jobmanager.schedules import counts, triggers
from jobmanager.schedules import events as schedule_events
from jobmanager.schedules.reconcile import reconcile
from tests.unit.functions.examples import NOON_MS, due, lambda_context, save_job

pytestmark = pytest.mark.usefixtures("cloud")
MINUTE_MS = 60_000
ONCE: dict[str, Any] = {"schedule": "at(2026-12-24T18:00:00)", "time_zone": "Europe/Berlin"}
KEY = "at(2026-12-24T18:00:00) Europe/Berlin"
FIRED_MS = ms_of_iso("2026-12-24T17:00:00Z")
GRACE_MS = 5 * MINUTE_MS
RETRIES_MS = 75 * MINUTE_MS


class Clock:
    """The clock of EventBridge Scheduler's part, and what was published and invoked."""

    def __init__(self) -> None:
        self.at_ms = NOON_MS
        self.published: list[dict[str, Any]] = []
        self.ticks: list[dict[str, Any]] = []


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()

    def publish(client: Any, message: dict[str, Any]) -> None:
        clock.published.append(message)

    def invoke(Payload: bytes, **_: Any) -> None:
        clock.ticks.append(json.loads(Payload))

    monkeypatch.setattr("jobmanager.schedules.scheduler.now_ms", lambda: clock.at_ms)
    monkeypatch.setattr(schedule_events, "publish", publish)
    monkeypatch.setattr(job_events, "publish", publish)
    monkeypatch.setattr(invocations, "lambdas", lambda: SimpleNamespace(invoke=invoke))
    yield clock


def use(job_name: str = "nightly", **fields: Any) -> Job:
    job = save_job(job_name, **ONCE | fields)
    triggers.put(job["active_schedule"])
    return job


def fire(*job_names: str, key: str = KEY, at_ms: int = FIRED_MS) -> None:
    """A tick comes, and starts these jobs."""
    counts.record_if_later(key, "last_tick_ms", at_ms)
    for name in job_names:
        begin(due(name, at_ms=at_ms, schedule=key), at_ms)


def stored(job_name: str = "nightly") -> Job:
    return store.read("billing", job_name)


def run(clock: Clock, at_ms: int) -> Completions:
    """A run of the reconciler at that time."""
    clock.at_ms = at_ms
    reconcile(at_ms, lambda: 29_000, lambda seconds: None)
    return complete_jobs(at_ms, lambda: 20_000)


def names_of_triggers() -> list[str]:
    return [each["Name"] for each in scheduler_client().list_schedules()["Schedules"]]


def test_after_its_last_tick_a_job_is_completed_and_its_trigger_goes(clock: Clock) -> None:
    job = use()
    fire("nightly")

    assert run(clock, FIRED_MS + MINUTE_MS) == Completions(0)
    assert run(clock, FIRED_MS + GRACE_MS) == Completions(0)
    assert names_of_triggers() != []
    clock.published.clear()
    at_ms = FIRED_MS + MINUTE_MS + GRACE_MS
    assert run(clock, at_ms) == Completions(1)

    completed = stored()
    assert (completed.get("completed_at"), completed["version"]) == (iso(at_ms), job["version"] + 1)
    assert ("active_schedule" in completed, completed["left_schedules"]) == (False, [KEY])
    assert (names_of_triggers(), list(counts.all_items())) == ([], [])
    (event,) = clock.published
    assert event == {
        "event": "job.completed",
        "occurred_at": iso(at_ms),
        "service_name": "billing",
        "job_name": "nightly",
        "job_guid": job["job_guid"],
        "version": job["version"] + 1,
        "updated_by": "manager",
        "changed": ["completed_at"],
        "schedule": "at(2026-12-24T18:00:00)",
        "time_zone": "Europe/Berlin",
        "enabled": True,
        "completed_at": iso(at_ms),
    }
    assert run(clock, at_ms + MINUTE_MS) == Completions(0)
    assert len(clock.published) == 1


def test_a_job_whose_last_tick_is_still_being_tried_is_completed_only_after_all_retries(clock: Clock) -> None:
    """An invocation may try for 15 minutes, and Lambda keeps it for an hour. Each looks for jobs."""
    use("started")
    use("failing")
    fire("started")
    seen_ms = FIRED_MS + MINUTE_MS
    run(clock, seen_ms)
    assert run(clock, seen_ms + GRACE_MS) == Completions(1)
    assert ("completed_at" in stored("started"), "completed_at" in stored("failing")) == (True, False)
    assert run(clock, seen_ms + RETRIES_MS - 1) == Completions(0)
    assert [job["job_key"] for page in store.pages_of_due(KEY, None, 10) for job in page] == [
        "billing/failing"
    ]
    assert names_of_triggers() != []

    assert run(clock, seen_ms + RETRIES_MS) == Completions(1)
    assert names_of_triggers() == []


def test_a_job_is_completed_once_the_execution_of_its_late_tick_has_begun(clock: Clock) -> None:
    use()
    counts.record_if_later(KEY, "last_tick_ms", FIRED_MS)
    run(clock, FIRED_MS + MINUTE_MS)
    assert run(clock, FIRED_MS + 40 * MINUTE_MS) == Completions(0)
    begin(due(at_ms=FIRED_MS, schedule=KEY), FIRED_MS + 41 * MINUTE_MS)
    assert run(clock, FIRED_MS + 42 * MINUTE_MS) == Completions(1)


def test_a_tick_that_begins_after_the_completion_still_runs_the_job(clock: Clock) -> None:
    use()
    fire("nightly")
    run(clock, FIRED_MS + MINUTE_MS)
    run(clock, FIRED_MS + MINUTE_MS + GRACE_MS)
    assert "completed_at" in stored()

    tick = due(at_ms=FIRED_MS, schedule=KEY)
    assert begin(tick, FIRED_MS + 10 * MINUTE_MS)["status"] == "running"


def test_the_retries_of_the_last_tick_are_awaited_however_short_the_grace_is(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISSED_TICK_GRACE_SECONDS", "60")
    use()
    fire("nightly")
    run(clock, FIRED_MS + MINUTE_MS)
    assert run(clock, FIRED_MS + 5 * MINUTE_MS) == Completions(0)
    assert run(clock, FIRED_MS + 6 * MINUTE_MS) == Completions(1)


def test_a_spread_job_is_completed_only_after_its_start_and_the_trigger_goes_with_the_last(
    clock: Clock,
) -> None:
    use("at-once")
    use("spread", spread_seconds=3600)
    fire("at-once", "spread")
    seen_ms = FIRED_MS + MINUTE_MS
    assert run(clock, seen_ms) == Completions(0)
    assert run(clock, seen_ms + GRACE_MS) == Completions(1)
    assert ("completed_at" in stored("at-once"), "completed_at" in stored("spread")) == (True, False)
    assert run(clock, seen_ms + GRACE_MS + 59 * MINUTE_MS) == Completions(0)
    assert names_of_triggers() != []
    assert run(clock, seen_ms + GRACE_MS + 60 * MINUTE_MS) == Completions(1)
    assert "completed_at" in stored("spread")
    assert names_of_triggers() == []


def test_before_its_time_and_while_its_tick_may_be_late_nothing_is_completed(clock: Clock) -> None:
    use()
    for at_ms in (NOON_MS + MINUTE_MS, FIRED_MS - 1, FIRED_MS + 1000, FIRED_MS + GRACE_MS - 1):
        assert run(clock, at_ms) == Completions(0)
    assert "ended_ms" not in (counts.find(KEY) or {})
    assert clock.ticks == []


def test_a_missed_at_is_published_and_caught_up_before_the_job_is_completed(clock: Clock) -> None:
    use(catch_up="one")
    clock.published.clear()
    missed_ms = FIRED_MS + GRACE_MS
    assert run(clock, missed_ms) == Completions(0)
    (tick,) = clock.ticks
    assert tick == {
        "schedule": KEY,
        "scheduled_time": iso(FIRED_MS),
        "catch_up": True,
        "missed_after_ms": NOON_MS,
        "found_ms": missed_ms,
    }
    assert [event["event"] for event in clock.published] == ["schedule.missed"]
    assert stored()["active_schedule"] == KEY

    assert run(clock, missed_ms + MINUTE_MS) == Completions(0)
    begin(due(at_ms=FIRED_MS, schedule=KEY), missed_ms + MINUTE_MS)
    assert run(clock, missed_ms + GRACE_MS) == Completions(1)
    assert [event["event"] for event in clock.published] == ["schedule.missed", "job.completed"]
    assert len(clock.ticks) == 1


@pytest.mark.parametrize(
    ("fields", "key", "last"),
    [
        (
            {"schedule": "cron(0 2 * * ? *)", "end_at": "2026-12-24T17:00:00Z"},
            "cron(0 2 * * ? *) Europe/Berlin until 2026-12-24T17:00:00Z",
            "2026-12-24T01:00:00Z",
        ),
        (
            {
                "schedule": "rate(1 hour)",
                "start_at": "2026-12-24T00:30:00Z",
                "end_at": "2026-12-24T03:00:00Z",
            },
            "rate(1 hour) UTC from 2026-12-24T00:30:00Z until 2026-12-24T03:00:00Z",
            "2026-12-24T02:30:00Z",
        ),
        (
            {"schedule": "cron(0 12 24 12 ? 2026)", "time_zone": "UTC"},
            "cron(0 12 24 12 ? 2026)",
            "2026-12-24T12:00:00Z",
        ),
    ],
)
def test_a_schedule_that_ends_completes_its_jobs(
    clock: Clock, fields: dict[str, Any], key: str, last: str
) -> None:
    use(**fields)
    assert stored()["active_schedule"] == key
    counts.record_if_later(key, "last_tick_ms", ms_of_iso(last) - 1)
    assert run(clock, ms_of_iso(last) - 1) == Completions(0)
    fire("nightly", key=key, at_ms=ms_of_iso(last))
    run(clock, ms_of_iso(last) + 1000)

    assert run(clock, ms_of_iso(last) + 1000 + GRACE_MS) == Completions(1)


def test_a_rate_with_an_end_is_not_completed_before_the_tick_that_is_still_due(clock: Clock) -> None:
    """It fires an hour after its last tick, and not an hour after the reconciler runs."""
    use(schedule="rate(1 hour)", end_at="2026-11-23T14:30:00Z")
    key = "rate(1 hour) UTC until 2026-11-23T14:30:00Z"
    counts.record_if_later(key, "last_tick_ms", ms_of_iso("2026-11-23T13:20:00Z"))

    run(clock, ms_of_iso("2026-11-23T13:45:00Z"))
    assert "ended_ms" not in (counts.find(key) or {})
    fire("nightly", key=key, at_ms=ms_of_iso("2026-11-23T14:20:00Z"))
    run(clock, ms_of_iso("2026-11-23T14:21:00Z"))
    assert run(clock, ms_of_iso("2026-11-23T14:26:00Z")) == Completions(1)


def test_a_job_that_was_changed_meanwhile_is_not_completed() -> None:
    use()
    save_job(**ONCE | {"time_zone": "Europe/Paris"})

    assert not changes.complete("billing", "nightly", KEY, "manager", FIRED_MS + 1)
    assert not changes.complete("billing", "absent", KEY, "manager", FIRED_MS + 1)
    assert "completed_at" not in stored()


def test_a_job_is_not_completed_while_its_schedule_still_fires() -> None:
    use()

    assert not changes.complete("billing", "nightly", KEY, "manager", FIRED_MS - 1)
    assert stored()["active_schedule"] == KEY


def test_a_run_that_died_half_way_is_finished_by_the_next_one(clock: Clock) -> None:
    for name in ("a", "b"):
        use(name)
    fire("a", "b")
    run(clock, FIRED_MS + MINUTE_MS)
    at_ms = FIRED_MS + MINUTE_MS + GRACE_MS
    assert changes.complete("billing", "a", KEY, "manager", at_ms)

    assert run(clock, at_ms) == Completions(1)
    assert all("completed_at" in stored(name) for name in ("a", "b"))
    assert names_of_triggers() == []


def test_without_time_left_the_jobs_are_left_for_the_next_run(clock: Clock) -> None:
    use()
    fire("nightly")
    run(clock, FIRED_MS + MINUTE_MS)

    assert complete_jobs(FIRED_MS + 2 * GRACE_MS, lambda: 5_999) == Completions(0)
    assert "completed_at" not in stored()
    assert complete_jobs(FIRED_MS + 2 * GRACE_MS, lambda: 6_000) == Completions(1)


def test_schedules_that_end_are_completed_side_by_side(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job that runs once has a schedule of its own, and thousands may end between two runs."""
    keys = {}
    for name, time_zone in (("a", "Europe/Berlin"), ("b", "Europe/Paris")):
        use(name, time_zone=time_zone)
        keys[name] = f"at(2026-12-24T18:00:00) {time_zone}"
        fire(name, key=keys[name])
    run(clock, FIRED_MS + MINUTE_MS)
    meeting = threading.Barrier(2, timeout=60)
    complete = changes.complete

    def meet(*arguments: Any) -> bool:
        meeting.wait()
        return complete(*arguments)

    monkeypatch.setattr(changes, "complete", meet)
    assert run(clock, FIRED_MS + 2 * GRACE_MS) == Completions(2)
    assert names_of_triggers() == []


def test_a_schedule_whose_zone_is_unknown_does_not_stop_the_others(clock: Clock) -> None:
    use()
    fire("nightly")
    run(clock, FIRED_MS + MINUTE_MS)
    unknown = "at(2026-12-24T18:00:00) US/Pacific-New"
    tables.transact(counts.count_changes(None, unknown, NOON_MS))
    assert complete_jobs(FIRED_MS + 2 * GRACE_MS, lambda: 20_000) == Completions(1)


def test_a_job_that_fails_does_not_stop_the_others_and_makes_the_run_incomplete(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        use(name)
    fire("a", "b")
    run(clock, FIRED_MS + MINUTE_MS)
    complete = changes.complete

    def failing(service_name: str, job_name: str, *rest: Any) -> bool:
        if job_name == "a":
            raise AwsCallFailed("no")
        return complete(service_name, job_name, *rest)

    monkeypatch.setattr(changes, "complete", failing)
    clock.at_ms = FIRED_MS + 2 * GRACE_MS
    monkeypatch.setattr("functions.reconcile_schedules.handler.now_ms", lambda: clock.at_ms)
    with pytest.raises(ReconcileIncomplete):
        handler({}, lambda_context())
    assert ("completed_at" in stored("a"), "completed_at" in stored("b")) == (False, True)
    assert names_of_triggers() != []


def test_the_report_counts_the_completed_jobs(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    use()
    fire("nightly")
    run(clock, FIRED_MS + MINUTE_MS)
    clock.at_ms = FIRED_MS + 2 * GRACE_MS
    monkeypatch.setattr("functions.reconcile_schedules.handler.now_ms", lambda: clock.at_ms)

    report = handler({}, lambda_context())
    assert (report["completed"], report["complete"]) == (1, True)
