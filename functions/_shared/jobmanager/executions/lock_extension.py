"""Moves the time at which the lock of an exclusive job expires, while an execution runs."""

from jobmanager.executions import attempts
from jobmanager.executions.record import Execution
from jobmanager.jobs import lock


def hold_lock(record: Execution, expires_at: int) -> bool:
    """Lets the lock of a running execution last until ``expires_at`` (seconds since 1970).

    ``record`` is the execution as its caller has read it. False if another execution holds the lock; True if
    the job is not exclusive. Call it before the record claims a later time, and after the record claims an
    earlier one. So no record claims the lock for longer than its job grants it. Safe to repeat.
    """
    if not record["exclusive"]:
        return True
    until = attempts.lock_expiry_on_job(record, expires_at)
    seen = attempts.lock_expiry_on_job(record, record["lock_expires_at"])
    return lock.extend(record["service_name"], record["job_name"], record["execution_id"], until, seen)
