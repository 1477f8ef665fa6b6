"""The lock of an exclusive job: ``lock_execution`` holds it until ``lock_expires_at`` (seconds since 1970).

An execution takes the lock in the transaction that inserts its record (:mod:`jobmanager.executions.begin`).
It holds the lock until it is settled (:mod:`jobmanager.jobs.last_execution`) or the lock expires. The
``fencing_token`` of each holder is one higher than that of the previous holder.
"""

from jobmanager.jobs import store
from jobmanager.jobs.definition import Job


def holder(job: Job, execution_id: str, at_ms: int) -> str | None:
    """Returns the other execution that holds the lock of an exclusive job; None if it is free or expired."""
    current = job.get("lock_execution")
    is_free = not job["exclusive"] or current in (None, execution_id)
    return None if is_free or job["lock_expires_at"] <= at_ms // 1000 else current


def free(service_name: str, job_name: str, execution_id: str) -> Job | None:
    """Frees the lock if this execution holds it; returns the job, or None if there is none.

    For an execution that is not the job's last one: it was skipped. Safe to repeat.
    """
    freed = store.update_if(
        service_name,
        job_name,
        "REMOVE lock_execution, lock_expires_at",
        "lock_execution = :me",
        {":me": execution_id},
    )
    return freed or store.find_without_large_values(service_name, job_name)


def extend(
    service_name: str, job_name: str, execution_id: str, expires_at: int, seen: int | None = None
) -> bool:
    """Lets the lock last until ``expires_at`` (seconds since 1970); False if this execution has lost it.

    It becomes shorter only if it still expires at ``seen``. Otherwise somebody else has extended it since: a
    late callback comes after the end of its attempt, when the lock is held for the next one.
    """
    job = store.update_if(
        service_name,
        job_name,
        "SET lock_expires_at = :until",
        "lock_execution = :me AND (lock_expires_at <= :until OR lock_expires_at = :seen)",
        {":until": expires_at, ":me": execution_id, ":seen": expires_at if seen is None else seen},
    )
    if job is None:
        job = store.find_without_large_values(service_name, job_name)
    return job is not None and job.get("lock_execution") == execution_id
