"""A streak of failures publishes one event when it reaches its limit, and one when it ends."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from jobmanager.core.errors import Contended
from jobmanager.core.names import execution_id, job_guid
from jobmanager.executions.failure_streak import NO_STREAK, count_in_streak, next_streak
from jobmanager.executions.record import Execution
from jobmanager.jobs import changes
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Streak
from tests.unit.functions.examples import NOON_MS, save_job
from tests.unit.functions.published import Events, subscribe


def events_of(statuses: list[str], alert_after: int, streak: Streak = NO_STREAK) -> list[str | None]:
    """The event of each end, for executions that end one after the other."""
    events: list[str | None] = []
    for number, status in enumerate(statuses):
        streak, event = next_streak(streak, f"execution-{number}", status, NOON_MS + number, alert_after)
        events.append(event)
    return events


def test_the_nth_failure_in_a_row_is_published_and_the_next_is_not() -> None:
    ends = ["fail", "timeout", "fail", "fail", "timeout"]
    assert events_of(ends, 3) == [None, None, "job.failing", None, None]


def test_recovery_is_published_once_and_only_after_job_failing() -> None:
    assert events_of(["fail", "success", "fail", "fail", "success", "success"], 2) == [
        None,
        None,
        None,
        "job.failing",
        "job.recovered",
        None,
    ]


def test_a_job_may_fail_and_recover_again() -> None:
    ends = ["fail", "success"] * 3
    assert events_of(ends, 1) == ["job.failing", "job.recovered"] * 3


@pytest.mark.parametrize("status", ["skipped", "cancelled"])
def test_skipped_and_cancelled_executions_neither_end_nor_extend_a_streak(status: str) -> None:
    assert events_of(["fail", status, "fail", status], 2) == [None, None, "job.failing", None]


def test_a_limit_lowered_below_the_streak_takes_effect_at_the_next_failure() -> None:
    streak, event = next_streak({**NO_STREAK, "failures": 4}, "execution", "fail", NOON_MS, 2)
    assert (streak["failures"], event) == (5, "job.failing")


def test_an_end_recorded_twice_counts_once_and_repeats_its_event() -> None:
    first, event = next_streak(NO_STREAK, "a", "fail", NOON_MS, 2)
    assert next_streak(first, "a", "fail", NOON_MS, 2) == (first, None)
    second, event = next_streak(first, "b", "timeout", NOON_MS, 2)
    assert event == "job.failing"
    assert next_streak(second, "b", "timeout", NOON_MS, 2) == (second, "job.failing")
    assert next_streak(second, "a", "fail", NOON_MS, 2) == (second, None)
    third, event = next_streak(second, "c", "success", NOON_MS, 2)
    assert next_streak(third, "c", "success", NOON_MS, 2) == (third, "job.recovered")


def test_a_success_counted_late_does_not_cancel_later_failures() -> None:
    streak = NO_STREAK
    for number in (2, 3):
        streak, _ = next_streak(streak, f"execution-{number}", "fail", NOON_MS + number, 2)
    assert next_streak(streak, "execution-1", "success", NOON_MS + 1, 2) == (streak, None)
    assert next_streak(streak, "execution-4", "success", NOON_MS + 4, 2)[1] == "job.recovered"


def test_the_record_of_a_long_streak_stays_small() -> None:
    streak = NO_STREAK
    for number in range(500):
        streak, _ = next_streak(streak, f"execution-{number}", "fail", NOON_MS, 3)
    assert streak["failures"] == 500
    assert len(json.dumps(streak)) < 400


@pytest.fixture
def published(cloud: object) -> Events:
    """Returns the events of streaks published since the last call, in the order of their arrival."""
    receive = subscribe()
    streaks = ("job.failing", "job.recovered")
    return lambda: [event for event in receive() if event["event"] in streaks]


def run_id(name: str) -> str:
    return execution_id(job_guid("billing", "nightly"), NOON_MS, name)


def ended(name: str, status: str) -> Execution:
    record = {
        "execution_id": run_id(name),
        "status": status,
        "started_at_ms": NOON_MS,
        "finished_at_ms": NOON_MS,
    }
    return cast(Execution, record)


def end(name: str, status: str) -> None:
    count_in_streak(jobs.find("billing", "nightly"), ended(name, status), NOON_MS)


def test_an_event_names_the_job_and_its_streak(published: Any) -> None:
    job = save_job(alert_after_failures=2)
    end("a", "fail")
    assert published() == []
    end("b", "timeout")
    assert published() == [
        {
            "event": "job.failing",
            "occurred_at": "2026-11-23T12:00:00Z",
            "service_name": "billing",
            "job_name": "nightly",
            "job_guid": job["job_guid"],
            "execution_id": run_id("b"),
            "status": "timeout",
            "finished_at_ms": NOON_MS,
            "error": "Job.Timeout",
            "consecutive_failures": 2,
            "alert_after_failures": 2,
        }
    ]
    end("c", "fail")
    end("d", "success")
    (recovered,) = published()
    assert (recovered["event"], recovered["execution_id"]) == ("job.recovered", run_id("d"))


def test_an_event_that_was_not_published_is_published_when_the_end_is_recorded_again(
    published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_job(alert_after_failures=1)
    with monkeypatch.context() as dying:
        dying.setattr("jobmanager.executions.failure_streak.publish", lambda client, message: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            end("a", "fail")
    end("a", "fail")
    assert [message["event"] for message in published()] == ["job.failing"]


def test_concurrent_ends_are_all_counted(published: Any) -> None:
    save_job(alert_after_failures=6)
    stale = jobs.find("billing", "nightly")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: count_in_streak(stale, ended(f"e{n}", "fail"), NOON_MS), range(6)))
    found = jobs.find("billing", "nightly")
    assert found is not None
    assert found["streak"]["failures"] == 6
    assert [message["event"] for message in published()] == ["job.failing"]


def test_a_job_without_alert_after_failures_is_not_written(published: Any) -> None:
    save_job()
    before = jobs.find("billing", "nightly")
    for number in range(3):
        end(f"e{number}", "fail")
    assert jobs.find("billing", "nightly") == before
    assert published() == []


def test_a_success_without_a_streak_is_not_written(published: Any) -> None:
    save_job(alert_after_failures=1)
    before = jobs.find("billing", "nightly")
    end("a", "success")
    assert jobs.find("billing", "nightly") == before


def test_a_streak_continues_after_a_change_of_the_job(published: Any) -> None:
    save_job(alert_after_failures=2)
    end("a", "fail")
    save_job(alert_after_failures=2, description="changed")
    end("b", "fail")
    assert [message["event"] for message in published()] == ["job.failing"]


@pytest.mark.parametrize("without", ["the wish", "the job"])
def test_a_streak_ends_if_counting_is_turned_off_or_the_job_is_deleted(published: Any, without: str) -> None:
    save_job(alert_after_failures=2)
    end("a", "fail")
    if without == "the wish":
        save_job()
    else:
        changes.delete("billing", "nightly", "ann", NOON_MS)
    save_job(alert_after_failures=2)
    end("b", "fail")
    assert published() == []


@pytest.mark.parametrize("since", ["the read", "the start", "the start, and created again"])
def test_nothing_is_published_of_a_job_that_was_deleted(
    published: Any, monkeypatch: pytest.MonkeyPatch, since: str
) -> None:
    save_job(alert_after_failures=1)
    seen = jobs.find("billing", "nightly")
    changes.delete("billing", "nightly", "ann", NOON_MS + 1000)
    if since.endswith("again"):
        save_job(alert_after_failures=1, at_ms=NOON_MS + 2000)
    now = seen if since == "the read" else jobs.find("billing", "nightly")
    count_in_streak(now, ended("a", "fail"), NOON_MS + 3000)
    assert published() == []
    found = jobs.find("billing", "nightly")
    assert found is not None
    assert "streak" not in found


def test_counting_that_always_loses_the_race_answers_contended(
    published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_job(alert_after_failures=1)
    monkeypatch.setattr("jobmanager.executions.failure_streak._write", lambda job, streak: False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(Contended):
        end("a", "fail")
