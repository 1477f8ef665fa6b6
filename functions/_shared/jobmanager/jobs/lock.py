"""The lock of an exclusive job: ``lock_execution`` holds it until ``lock_expires_at`` (seconds since 1970).

An execution takes the lock in the transaction that inserts its record (:func:`jobmanager.executions.begin`),
and loses it when the execution is settled (:mod:`jobmanager.jobs.last_execution`) or when the lock expires.
Each holder gets a ``fencing_token`` that is one higher than the token of the holder before.
"""

from jobmanager.jobs import store
from jobmanager.jobs.definition import Job


def holder(job: Job, execution_id: str, at_ms: int) -> str | None:
    """The other execution that holds the lock of an exclusive job; None if the lock is free or expired."""
    current = job.get("lock_execution")
    is_free = not job["exclusive"] or current in (None, execution_id)
    return None if is_free or job["lock_expires_at"] <= at_ms // 1000 else current


def extend(service_name: str, job_name: str, execution_id: str, expires_at: int) -> bool:
    """Moves ``lock_expires_at`` (seconds since 1970); False if another execution holds the lock by now."""
    job = store.update_if(
        service_name,
        job_name,
        "SET lock_expires_at = :until",
        "lock_execution = :me",
        {":until": expires_at, ":me": execution_id},
    )
    return job is not None
