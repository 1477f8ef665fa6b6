"""begin_execution: it inserts the record and takes the lock together, and repeating it changes nothing."""

from typing import Any

import pytest

from functions.begin_execution.handler import handler
from jobmanager.core.errors import Conflict
from jobmanager.core.names import job_key
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.begin_or_wait import begin_by_hand
from jobmanager.executions.machine_input import machine_input
from jobmanager.jobs import changes
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job, Pausing
from jobmanager.schedules import counts
from tests.unit.functions.examples import NOON_MS, due, end_as, lambda_context, save_job

pytestmark = pytest.mark.usefixtures("cloud")
MINUTE_MS = 60_000


def job() -> Job:
    found = jobs.find("billing", "nightly")
    assert found is not None
    return found


def test_an_execution_begins_with_a_snapshot_of_its_job() -> None:
    save_job(payload="hello", ttl_seconds=100)
    record = begin(due(), NOON_MS + 5)
    assert record["status"] == "running"
    stored = executions.find(record["execution_id"])
    assert stored is not None
    assert stored["payload"] == "hello"
    assert stored["started_at_ms"] == NOON_MS + 5
    assert stored["lock_expires_at"] == NOON_MS // 1000 + 100
    assert stored["expires_at"] == NOON_MS // 1000 + 86_400 + 90 * 86_400
    assert "fencing_token" not in stored


def test_only_ids_numbers_and_times_reach_step_functions() -> None:
    save_job(payload="secret", ttl_seconds=100, heartbeat_interval_seconds=20, max_duration_seconds=500)
    record = begin(due(), NOON_MS)
    assert machine_input(record) == {
        "service_name": "billing",
        "job_name": "nightly",
        "job_guid": record["job_guid"],
        "execution_id": record["execution_id"],
        "schedule": "rate(5 minutes)",
        "scheduled_time": "2026-11-23T12:00:00Z",
        "started_at_ms": NOON_MS,
        "job_created_at": "2026-11-23T12:00:00Z",
        "status": "running",
        "ttl_seconds": 100,
        "heartbeat_seconds": 20,
        "max_duration_seconds": 500,
        "timeout_seconds": 500,
        "attempt": 1,
    }


def test_beginning_again_answers_from_the_record() -> None:
    save_job(exclusive=True)
    first = begin(due(), NOON_MS)
    again = begin(due(), NOON_MS + 1000)
    assert again["started_at_ms"] == first["started_at_ms"]
    assert again["fencing_token"] == 1
    assert job()["fencing_token"] == 1


@pytest.mark.parametrize(
    ("change", "code", "detail"),
    [
        ({"enabled": False}, "job_disabled", "the job is disabled"),
        (
            {"schedule": "rate(1 hour)"},
            "schedule_changed",
            "the job has moved to the schedule rate(1 hour)",
        ),
    ],
)
def test_a_disabled_or_moved_job_is_skipped(change: dict[str, Any], code: str, detail: str) -> None:
    save_job(**change)
    record = begin(due(), NOON_MS)
    assert (record["status"], record["reason"]) == ("skipped", {"code": code, "detail": detail})
    assert machine_input(record)["heartbeat_seconds"] == 60


HOUR_MS = 60 * MINUTE_MS
OLD, NEW = "rate(5 minutes)", "cron(0 * * * ? *)"


def begin_late(at_ms: int = NOON_MS, schedule: str = OLD) -> tuple[str, str | None]:
    """Begins the execution of a tick at that time, two hours later."""
    record = begin(due(at_ms=at_ms, schedule=schedule), NOON_MS + 2 * HOUR_MS)
    return record["status"], record["reason"]["code"] if "reason" in record else None


NOT_THEN = ("skipped", "not_active_then")


def test_a_late_tick_starts_no_job_that_was_created_after_it() -> None:
    save_job(at_ms=NOON_MS + HOUR_MS)
    assert begin_late() == NOT_THEN
    assert begin_late(NOON_MS + HOUR_MS) == ("running", None)


def test_a_late_tick_does_not_start_a_job_that_was_created_again() -> None:
    save_job(at_ms=NOON_MS - HOUR_MS)
    changes.delete("billing", "nightly", "ann", NOON_MS + 1000)
    save_job(at_ms=NOON_MS + HOUR_MS)
    assert begin_late() == NOT_THEN


@pytest.mark.parametrize("then", ["disabled", "on another schedule"])
def test_a_late_tick_starts_no_job_that_was_enabled_or_moved_there_after_it(then: str) -> None:
    other = "cron(30 * * * ? *)"
    save_job(at_ms=NOON_MS - HOUR_MS, **({"enabled": False} if then == "disabled" else {"schedule": other}))
    save_job(at_ms=NOON_MS + HOUR_MS)
    assert begin_late() == NOT_THEN


@pytest.mark.parametrize(
    "how", ["it ended", "resumed early", "paused again, resumed", "without end, resumed"]
)
def test_a_late_tick_starts_a_job_only_if_it_was_not_paused_then(how: str) -> None:
    pausing: Pausing = {"reason": "r", "until": NOON_MS + HOUR_MS // 2}
    if how == "without end, resumed":
        del pausing["until"]
    save_job(at_ms=NOON_MS - HOUR_MS)
    changes.pause("billing", "nightly", pausing, "ann", NOON_MS - MINUTE_MS)
    if how == "paused again, resumed":
        again: Pausing = {"reason": "r", "until": NOON_MS + HOUR_MS}
        changes.pause("billing", "nightly", again, "ann", NOON_MS + MINUTE_MS)
    if how != "it ended":
        changes.resume("billing", "nightly", "ann", NOON_MS + 2 * MINUTE_MS)
    assert begin_late() == NOT_THEN
    assert begin_late(NOON_MS + MINUTE_MS) == NOT_THEN
    assert begin_late(NOON_MS - 2 * MINUTE_MS) == ("running", None)
    assert begin_late(NOON_MS + HOUR_MS // 2) == ("running", None)


def test_a_job_stays_due_after_a_change_that_keeps_it_active() -> None:
    save_job(at_ms=NOON_MS - HOUR_MS)
    save_job(at_ms=NOON_MS + HOUR_MS, payload="new")
    assert begin_late() == ("running", None)


def test_a_job_created_in_the_second_of_the_tick_is_due() -> None:
    save_job(at_ms=NOON_MS + 999)
    assert begin_late() == ("running", None)


def move(at_ms: int, to: str = NEW) -> None:
    save_job(at_ms=NOON_MS - HOUR_MS, schedule=OLD)
    # Another job keeps the item of the old schedule.
    save_job("other", at_ms=NOON_MS - HOUR_MS, schedule=OLD)
    save_job(at_ms=at_ms, schedule=to)


@pytest.mark.parametrize("moved_ms", [NOON_MS - 1000, NOON_MS + 1000], ids=["before the tick", "after it"])
def test_a_job_that_moved_to_a_schedule_that_also_fires_then_runs_for_the_old_tick(
    moved_ms: int,
) -> None:
    move(moved_ms)
    record = begin(due(), NOON_MS + 2000)
    assert (record["status"], record["schedule"]) == ("running", NEW)


def test_a_rate_also_fires_then_if_that_was_its_last_tick() -> None:
    move(NOON_MS + 1000, "rate(1 hour)")
    counts.record_if_later("rate(1 hour)", "last_tick_ms", NOON_MS)
    assert begin(due(), NOON_MS + 2000)["status"] == "running"
    assert begin_late(NOON_MS - 5 * MINUTE_MS) == ("skipped", "schedule_changed")


def test_a_job_that_moved_after_a_tick_of_both_schedules_runs_for_the_new_tick() -> None:
    move(NOON_MS + 1000)
    counts.record_if_later(OLD, "last_tick_ms", NOON_MS)
    assert begin_late(schedule=NEW) == ("running", None)
    assert begin_late(NOON_MS - HOUR_MS, NEW) == NOT_THEN


@pytest.mark.parametrize(("late_ms", "status"), [(60_000, "running"), (60_001, "skipped")])
def test_a_start_later_than_its_deadline_is_skipped(late_ms: int, status: str) -> None:
    save_job(starting_deadline_seconds=60)
    record = begin(due(), NOON_MS + late_ms)
    assert record["status"] == status
    assert begin(due(), NOON_MS + MINUTE_MS * 60) == executions.find(record["execution_id"])
    if status == "skipped":
        assert record["reason"] == {
            "code": "started_too_late",
            "detail": "the start was 60 s late, and starting_deadline_seconds is 60",
        }


def test_a_run_by_hand_has_no_deadline_and_a_job_without_one_may_start_late() -> None:
    save_job(starting_deadline_seconds=1)
    assert begin_by_hand(due(), {"started_by": "ann"}, NOON_MS + MINUTE_MS)["status"] == "running"
    save_job("patient")
    assert begin(due("patient"), NOON_MS + 24 * 60 * MINUTE_MS)["status"] == "running"


DELETED = {"code": "job_deleted", "detail": "the job was deleted"}


def test_a_deleted_or_unknown_job_is_skipped() -> None:
    assert begin(due(), NOON_MS)["reason"] == DELETED
    save_job("other")
    changes.delete("billing", "other", "tester", NOON_MS)
    assert begin(due("other"), NOON_MS)["reason"] == DELETED


def lock_held_by(execution_id: str) -> dict[str, str]:
    return {"code": "lock_held", "detail": f"the lock is held by {execution_id}"}


def test_an_exclusive_job_is_skipped_while_its_lock_is_held() -> None:
    save_job(exclusive=True, ttl_seconds=300)
    first = begin(due(), NOON_MS)
    second = begin(due(at_ms=NOON_MS + MINUTE_MS), NOON_MS + MINUTE_MS)
    assert second["status"] == "skipped"
    assert second["reason"] == lock_held_by(first["execution_id"])
    assert job()["lock_execution"] == first["execution_id"]


def test_the_next_execution_takes_an_expired_lock_with_a_higher_fencing_token() -> None:
    save_job(exclusive=True, ttl_seconds=60)
    first = begin(due(), NOON_MS)
    second = begin(due(at_ms=NOON_MS + MINUTE_MS), NOON_MS + MINUTE_MS)
    assert (first["fencing_token"], second["fencing_token"]) == (1, 2)
    assert job()["lock_execution"] == second["execution_id"]


def test_jobs_that_are_not_exclusive_overlap() -> None:
    save_job()
    begun = [begin(due(at_ms=NOON_MS + n * MINUTE_MS), NOON_MS)["status"] for n in range(3)]
    assert begun == ["running"] * 3
    assert "lock_execution" not in job()


def became_exclusive() -> str:
    """Makes a job exclusive while it runs, a minute ago. Returns the execution."""
    save_job(ttl_seconds=300)
    running = begin(due(), NOON_MS)["execution_id"]
    save_job(ttl_seconds=300, exclusive=True, at_ms=NOON_MS + 1000)
    return running


def test_a_job_that_became_exclusive_while_it_ran_has_no_second_run_beside_the_first() -> None:
    running = became_exclusive()
    at_ms = NOON_MS + MINUTE_MS
    assert begin(due(at_ms=at_ms), at_ms)["reason"] == lock_held_by(running)
    with pytest.raises(Conflict) as refusal:
        begin_by_hand(due(at_ms=at_ms + 1000), {"started_by": "ann"}, at_ms)
    assert refusal.value.extra == {"lock_execution": running}


@pytest.mark.parametrize("how", ["it ended", "it is overdue"])
def test_after_the_earlier_run_has_ended_the_lock_is_taken_without_another_check(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = became_exclusive()
    at_ms = NOON_MS + (MINUTE_MS if how == "it ended" else 300_000)
    if how == "it ended":
        end_as({"execution_id": running}, "success", {}, NOON_MS + 2000)
    first = begin(due(at_ms=at_ms), at_ms)
    assert (first["status"], first["fencing_token"]) == ("running", 1)
    monkeypatch.setattr(executions, "open_of_job", lambda *_: pytest.fail("looked again"))
    assert begin(due(at_ms=at_ms + 1000), at_ms)["reason"] == lock_held_by(first["execution_id"])
    assert "exclusive_since_ms" not in job()


def test_a_start_right_after_a_job_became_exclusive_waits_for_the_index(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = became_exclusive()
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    assert begin(due(at_ms=NOON_MS + 2000), NOON_MS + 2000)["reason"] == lock_held_by(running)
    assert waits == [1.0]


def test_the_lock_keeps_its_holder_while_exclusive_is_turned_off_and_on() -> None:
    save_job(exclusive=True, ttl_seconds=60)
    holder = begin(due(), NOON_MS)
    save_job(ttl_seconds=60, at_ms=NOON_MS + 1000)
    assert "exclusive_since_ms" not in job()
    save_job(exclusive=True, ttl_seconds=60, at_ms=NOON_MS + 2000)
    at_ms = NOON_MS + 30_000
    assert begin(due(at_ms=at_ms), at_ms)["reason"] == lock_held_by(holder["execution_id"])
    at_ms = NOON_MS + MINUTE_MS
    assert begin(due(at_ms=at_ms), at_ms)["fencing_token"] == 2


def test_only_one_of_two_executions_that_saw_the_lock_free_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job(exclusive=True)
    find = jobs.find

    def find_then_lose(service_name: str, job_name: str) -> Job | None:
        seen = find(service_name, job_name)
        monkeypatch.setattr(jobs, "find", find)
        begin(due(at_ms=NOON_MS + 1000), NOON_MS)
        return seen

    monkeypatch.setattr(jobs, "find", find_then_lose)
    late, winner = begin(due(), NOON_MS), due(at_ms=NOON_MS + 1000)["execution_id"]
    assert (late["status"], late["reason"]) == ("skipped", lock_held_by(winner))
    assert job()["fencing_token"] == 1


def test_a_job_that_changes_before_its_lock_is_taken_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job(exclusive=True)
    find, changes = jobs.find, iter([True, False])

    def find_then_disable(service_name: str, job_name: str) -> Job | None:
        seen = find(service_name, job_name)
        if next(changes, False):
            monkeypatch.setattr(jobs, "find", find)
            save_job(exclusive=True, enabled=False)
        return seen

    monkeypatch.setattr(jobs, "find", find_then_disable)
    assert begin(due(), NOON_MS)["reason"]["code"] == "job_disabled"


def test_a_start_is_published_and_a_skip_is_left_to_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[str] = []
    monkeypatch.setattr(
        "jobmanager.executions.begin.publish_event", lambda record, at_ms: published.append(record["status"])
    )
    save_job()
    handler(due(), lambda_context())
    handler(due(job_name="gone"), lambda_context())
    assert published == ["running"]
    assert job()["job_key"] == job_key("billing", "nightly")


def test_an_execution_starts_even_if_its_event_cannot_be_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTS_TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:not-there")
    save_job()
    assert handler(due(), lambda_context())["status"] == "running"
