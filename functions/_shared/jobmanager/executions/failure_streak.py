"""Jobs that fail again and again: ``job.failing`` is published once, and ``job.recovered`` once.

A job that has ``alert_after_failures`` keeps a ``streak``. It is written on the condition that nobody changed
it since it was read, so ends that are recorded at once are counted one after the other. The streak lists the
executions that it counted lately, and the execution that caused its last event. So an end that is recorded
again counts once, and its event is published again, with the same ``event`` and ``execution_id``.
"""

from typing import Any

from jobmanager.aws.clients import sns
from jobmanager.aws.topics import publish
from jobmanager.core.clock import iso
from jobmanager.core.errors import Contended
from jobmanager.core.retry import tries
from jobmanager.executions.record import Execution
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job, Published, Streak, StreakEvent

_MOST_TRIES = 8
_COUNTED_LATELY = 10

NO_STREAK = Streak(failures=0, is_failing=False, counted=[])


def after(
    streak: Streak, execution_id: str, status: str, finished_at_ms: int, alert_after_failures: int
) -> tuple[Streak, StreakEvent | None]:
    """The streak after one more end, and the event that this end causes, if any.

    Only success, fail and timeout count. A success that is counted late ends no streak of newer failures. If
    the streak stays the same, there is nothing to write.
    """
    told = streak.get("told")
    if told is not None and told["execution_id"] == execution_id:
        return streak, told["event"]
    if status == "success":
        is_late = finished_at_ms < streak.get("failed_at_ms", 0)
        return (streak, None) if is_late else _after_success(streak, execution_id)
    if status not in ("fail", "timeout") or execution_id in streak["counted"]:
        return streak, None
    failures = streak["failures"] + 1
    grown: Streak = {
        **streak,
        "failures": failures,
        "counted": [*streak["counted"], execution_id][-_COUNTED_LATELY:],
        "failed_at_ms": max(finished_at_ms, streak.get("failed_at_ms", 0)),
    }
    if streak["is_failing"] or failures < alert_after_failures:
        return grown, None
    return _telling(grown, execution_id, "job.failing"), "job.failing"


def _after_success(streak: Streak, execution_id: str) -> tuple[Streak, StreakEvent | None]:
    if not streak["failures"]:
        return streak, None
    ended: Streak = {**streak, "failures": 0}
    if not streak["is_failing"]:
        return ended, None
    return _telling(ended, execution_id, "job.recovered"), "job.recovered"


def _telling(streak: Streak, execution_id: str, event: StreakEvent) -> Streak:
    told = Published(execution_id=execution_id, event=event)
    return {**streak, "is_failing": event == "job.failing", "told": told}


def count_in_streak(job: Job | None, record: Execution, at_ms: int) -> None:
    """Counts how an execution of the job ended, and publishes the event if there is one. Safe to repeat.

    ``job`` is the item as it was just read or written. None, and a job without ``alert_after_failures``, cost
    nothing. Raises Contended if others kept counting first.
    """
    execution_id = record["execution_id"]
    for _ in tries(_MOST_TRIES):
        if job is None or "alert_after_failures" not in job:
            return
        seen = job.get("streak", NO_STREAK)
        end = (execution_id, record["status"], record["finished_at_ms"])
        streak, event = after(seen, *end, job["alert_after_failures"])
        if streak == seen or _write(job, streak):
            if event is not None:
                publish(sns(), _message(job, streak, execution_id, event, at_ms))
            return
        job = jobs.find(job["service_name"], job["job_name"])
    raise Contended("Others keep counting how executions of the same job end.")


def _write(job: Job, streak: Streak) -> bool:
    """Writes the streak; False if the job has another one by now."""
    seen: dict[str, Any] = {":seen": job["streak"]} if "streak" in job else {}
    condition = "streak = :seen" if seen else "attribute_exists(job_key) AND attribute_not_exists(streak)"
    values = {":streak": streak, **seen}
    written = jobs.update_if(job["service_name"], job["job_name"], "SET streak = :streak", condition, values)
    return written is not None


def _message(job: Job, streak: Streak, execution_id: str, event: StreakEvent, at_ms: int) -> dict[str, Any]:
    return {
        "event": event,
        "occurred_at": iso(at_ms),
        "service_name": job["service_name"],
        "job_name": job["job_name"],
        "job_guid": job["job_guid"],
        "execution_id": execution_id,
        "consecutive_failures": streak["failures"],
        "alert_after_failures": job["alert_after_failures"],
    }
