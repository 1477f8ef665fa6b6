"""Jobs that fail again and again: ``job.failing`` once, ``job.recovered`` once.

A job that has ``alert_after_failures`` keeps a ``streak``. It is written on the condition that it is as it
was read, so ends that are recorded at once are counted one after the other. It knows which executions it has
counted lately, and what the last of its events was for, so an end that is recorded again counts once, and
tells its event again: as every event, at least once, and ``event`` with ``execution_id`` tells repeats apart.
"""

import random
import time
from typing import Any, Literal, NotRequired, TypedDict

from jobmanager.aws import tables
from jobmanager.aws.clients import sns
from jobmanager.aws.topics import publish
from jobmanager.core.clock import iso
from jobmanager.core.errors import Contended
from jobmanager.core.settings import setting
from jobmanager.executions.store import Execution
from jobmanager.jobs import store as jobs

type StreakEvent = Literal["job.failing", "job.recovered"]

_ATTEMPTS = 8
_COUNTED_LATELY = 10


class Told(TypedDict):
    """An event, and the execution whose end brought it about."""

    execution_id: str
    event: StreakEvent


class Streak(TypedDict):
    """How many executions of a job failed in a row, and whether it was said to be failing."""

    failures: int
    is_failing: bool
    counted: list[str]
    failed_at_ms: NotRequired[int]
    told: NotRequired[Told]


NO_STREAK = Streak(failures=0, is_failing=False, counted=[])


def after(
    streak: Streak, execution_id: str, status: str, finished_at_ms: int, alert_after_failures: int
) -> tuple[Streak, StreakEvent | None]:
    """The streak after one more end, and the event that this end brings about, if any.

    Only success, fail and timeout count; of a success that is counted late, only what failed before it is
    made up for. The same streak means that there is nothing to write.
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
    told = Told(execution_id=execution_id, event=event)
    return {**streak, "is_failing": event == "job.failing", "told": told}


def tell_of_streak(job: dict[str, Any] | None, record: Execution, at_ms: int) -> None:
    """Counts how an execution of the job ended, and tells the subscribers if that is news. Repeatable.

    ``job`` is the item as it was just read or written; None, and a job without ``alert_after_failures``,
    costs nothing. Raises Contended if others kept counting first.
    """
    execution_id: str = record["execution_id"]
    for attempt in range(_ATTEMPTS):
        if job is None or "alert_after_failures" not in job:
            return
        seen: Streak = job.get("streak", NO_STREAK)
        end = (execution_id, record["status"], record["finished_at_ms"])
        streak, event = after(seen, *end, job["alert_after_failures"])
        if streak == seen or _write(job, streak):
            if event is not None:
                publish(sns(), _message(job, streak, execution_id, event, at_ms))
            return
        time.sleep(random.uniform(0, 0.02 * 2**attempt))
        job = jobs.find(job["service_name"], job["job_name"])
    raise Contended("Others keep counting how executions of the same job end.")


def _write(job: dict[str, Any], streak: Streak) -> bool:
    """Writes the streak; False if it is not what ``job`` says any more."""
    seen: dict[str, Any] = {":seen": job["streak"]} if "streak" in job else {}
    condition = "streak = :seen" if seen else "attribute_exists(job_key) AND attribute_not_exists(streak)"
    values = {":streak": streak, **seen}
    key = jobs.key(job["service_name"], job["job_name"])
    written = tables.update_if(setting("JOBS_TABLE"), key, "SET streak = :streak", condition, values)
    return written is not None


def _message(
    job: dict[str, Any], streak: Streak, execution_id: str, event: StreakEvent, at_ms: int
) -> dict[str, Any]:
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
