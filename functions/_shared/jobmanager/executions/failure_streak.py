"""Publishes ``job.failing`` once when a job has failed several times in a row, then ``job.recovered`` once.

A job with ``alert_after_failures`` has a ``streak``. A write requires that the streak has not changed since
it was read, so concurrent outcomes are counted one after the other. The streak lists the executions that it
counted recently, and the execution that caused its last event. So an outcome that is settled twice counts
once; its event is published again, with the same ``event`` and ``execution_id``.

A job with ``pause_after_failures`` has a ``streak`` too. The outcome that reaches the limit invokes
pause_failing_job, see :mod:`jobmanager.executions.failure_pause`.
"""

from typing import Any

from jobmanager.aws.clients import sns
from jobmanager.aws.topics import publish
from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.core.errors import Contended
from jobmanager.core.retry import tries
from jobmanager.executions.failure_pause import ask_for_pause, is_reached_by, next_to_pause
from jobmanager.executions.published_outcome import published_outcome
from jobmanager.executions.record import Execution
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job, Published, Streak, StreakEvent, has_streak, is_deleted

_MAX_TRIES = 8
_MAX_COUNTED = 10

NO_STREAK = Streak(failures=0, is_failing=False, counted=[])


def next_streak(
    streak: Streak,
    execution_id: str,
    status: str,
    finished_at_ms: int,
    alert_after_failures: int | None,
) -> tuple[Streak, StreakEvent | None]:
    """Returns the streak after one more outcome, and the event that it causes, if any.

    Only success, fail and timeout count. A success that is counted late does not end a streak of newer
    failures. An unchanged streak need not be written. Without ``alert_after_failures`` no streak begins to
    be published; one that was before still ends so.
    """
    published = streak.get("told")
    if published is not None and published["execution_id"] == execution_id:
        return streak, published["event"]
    if status == "success":
        is_late = finished_at_ms < streak.get("failed_at_ms", 0)
        return (streak, None) if is_late else _after_success(streak, execution_id)
    if status not in ("fail", "timeout") or execution_id in streak["counted"]:
        return streak, None
    failures = streak["failures"] + 1
    grown: Streak = {
        **streak,
        "failures": failures,
        "counted": [*streak["counted"], execution_id][-_MAX_COUNTED:],
        "failed_at_ms": max(finished_at_ms, streak.get("failed_at_ms", 0)),
    }
    if streak["is_failing"] or alert_after_failures is None or failures < alert_after_failures:
        return grown, None
    return _with_event(grown, execution_id, "job.failing"), "job.failing"


def _after_success(streak: Streak, execution_id: str) -> tuple[Streak, StreakEvent | None]:
    if not streak["failures"]:
        return streak, None
    ended: Streak = {**streak, "failures": 0}
    if not streak["is_failing"]:
        return ended, None
    return _with_event(ended, execution_id, "job.recovered"), "job.recovered"


def _with_event(streak: Streak, execution_id: str, event: StreakEvent) -> Streak:
    published = Published(execution_id=execution_id, event=event)
    return {**streak, "is_failing": event == "job.failing", "told": published}


def count_in_streak(job: Job | None, record: Execution, at_ms: int) -> None:
    """Counts the outcome of an execution, and publishes the event that it causes, if any. Safe to repeat.

    If the outcome is the failure after which the job is to be paused, it also has the job paused. ``job`` is
    the item as it was just read or written. This does nothing without a job, without
    ``alert_after_failures`` and ``pause_after_failures``, or if the job was deleted after the execution
    began, even if it was created again since. Raises Contended if concurrent writes of the streak kept
    winning.
    """
    execution_id = record["execution_id"]
    for _ in tries(_MAX_TRIES):
        if job is None or not has_streak(job) or not _is_of(job, record):
            return
        old = job.get("streak", NO_STREAK)
        end = (execution_id, record["status"], record["finished_at_ms"])
        streak, event = next_streak(old, *end, job.get("alert_after_failures"))
        streak = next_to_pause(old, streak, job, execution_id, at_ms)
        if streak == old or _write(job, streak):
            if event is not None and "alert_after_failures" in job:
                publish(sns(), _message(job, streak, record, event, at_ms))
            if is_reached_by(streak, execution_id):
                ask_for_pause(job, execution_id)
            return
        job = jobs.find_without_large_values(job["service_name"], job["job_name"])
    raise Contended("The failure streak of the job is being changed by others.")


def _is_of(job: Job, record: Execution) -> bool:
    """Whether the job exists, and existed when the execution began."""
    return not is_deleted(job) and ms_of_iso(job["created_at"]) <= record["started_at_ms"]


def _write(job: Job, streak: Streak) -> bool:
    """Writes the streak; False if the job has a different one by now, or was deleted."""
    old: dict[str, Any] = {":old": job["streak"]} if "streak" in job else {}
    condition = "streak = :old" if old else "attribute_exists(job_key) AND attribute_not_exists(streak)"
    condition += " AND attribute_not_exists(deleted_at)"
    values = {":streak": streak, **old}
    written = jobs.update_if(job["service_name"], job["job_name"], "SET streak = :streak", condition, values)
    return written is not None


def _message(job: Job, streak: Streak, record: Execution, event: StreakEvent, at_ms: int) -> dict[str, Any]:
    """Builds the message: the job, its streak, and how the execution that caused the event ended."""
    return {
        "event": event,
        "occurred_at": iso(at_ms),
        "service_name": job["service_name"],
        "job_name": job["job_name"],
        "job_guid": job["job_guid"],
        "execution_id": record["execution_id"],
        "status": record["status"],
        "finished_at_ms": record["finished_at_ms"],
        **published_outcome(record, job),
        "consecutive_failures": streak["failures"],
        "alert_after_failures": job["alert_after_failures"],
    }
