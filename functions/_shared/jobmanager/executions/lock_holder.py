"""Finds the execution that keeps another one of an exclusive job from running, with or without the lock."""

import time

from jobmanager.executions import store
from jobmanager.executions.record import RUNNING, WAITING, Execution
from jobmanager.jobs import lock
from jobmanager.jobs.definition import Job

KEEPS_LOCK_SECONDS = 3600
"""How long a waiting execution keeps the lock. The sweep extends that every few minutes."""

_INDEX_IS_LATE_MS = 2000


def holder(job: Job, execution_id: str, at_ms: int) -> str | None:
    """Returns the other execution that keeps this one from running; None if the lock can be taken."""
    return lock.holder(job, execution_id, at_ms) or runs_without_lock(job, execution_id, at_ms)


def runs_without_lock(job: Job, execution_id: str, at_ms: int) -> str | None:
    """Returns another execution of an exclusive job that runs without the lock; None if there is none.

    A job that became exclusive while it ran has such executions. Until they have ended, no other begins.
    Right after the change, this waits until the index has all of them.
    """
    if "exclusive_since_ms" not in job:
        return None
    wait_ms = min(job["exclusive_since_ms"] + _INDEX_IS_LATE_MS - at_ms, _INDEX_IS_LATE_MS)
    time.sleep(max(wait_ms, 0) / 1000)
    now = at_ms // 1000
    for other in store.open_of_job(job["job_guid"]):
        if other != execution_id and _has_no_lock(store.find(other), now):
            return other
    return None


def _has_no_lock(record: Execution | None, now_seconds: int) -> bool:
    if record is None or "fencing_token" in record:
        return False
    if record["status"] == WAITING:
        return record["waits_for"] != "lock"
    return record["status"] == RUNNING and record["lock_expires_at"] > now_seconds
