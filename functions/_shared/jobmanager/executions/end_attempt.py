"""Ends an attempt: either another follows, or the execution ends too.

Either is a single write, on the condition that the attempt has not ended yet, so the first of two outcomes
wins. The caller then signals Step Functions.
"""

from jobmanager.executions import attempts, store
from jobmanager.executions.metrics import count_retry
from jobmanager.executions.outcome import record_outcome, stored_result
from jobmanager.executions.record import (
    Execution,
    Result,
    Status,
    is_express,
    lock_expiry,
    not_after_warning,
)
from jobmanager.jobs import lock
from jobmanager.runtime.logs import logger


def end_attempt(
    record: Execution,
    status: Status,
    result: Result,
    at_ms: int,
    overdue_before: int | None = None,
    unless_delivered: bool = False,
    run_by: str | None = None,
) -> Execution | None:
    """Records how the current attempt of ``record`` ended; None if it has ended already.

    Returns the updated record. If another attempt follows, the record is still ``running``, and an exclusive
    job keeps its lock until that attempt has begun. ``overdue_before``, ``unless_delivered``, ``run_by``: see
    :func:`record_outcome`.
    """
    begins_at = attempts.next_begins_at(record, status, at_ms)
    if begins_at is None or not keep_lock(record, begins_at):
        current = attempts.current(record)
        return record_outcome(
            record, status, result, at_ms, overdue_before, current, unless_delivered, run_by
        )
    condition, values = store.may_end(attempts.current(record), overdue_before, unless_delivered, run_by)
    ended = attempts.ended(record, status, stored_result(result), at_ms, begins_at)
    until = overdue_if_not_begun(record, begins_at)
    next_look = not_after_warning(record, begins_at if is_express(record) else until, at_ms)
    sweep_at = {":sweep_at": next_look} if "sweep_at" in record else {}
    waiting = store.update_if(
        record["execution_id"],
        "SET attempts = list_append(if_not_exists(attempts, :none), :ended), lock_expires_at = :until"
        f"{', sweep_at = :sweep_at' if sweep_at else ''}"
        " REMOVE service_invoked_at_ms, progress, machine_execution, postponed",
        condition,
        {**values, **sweep_at, ":none": [], ":ended": [ended], ":until": until},
    )
    if waiting is not None:
        logger.info(
            "attempt ended, another was scheduled",
            extra={
                "attempt": ended["attempt"],
                "status": status,
                "next_attempt_at": attempts.next_attempt_at(waiting),
            },
        )
        count_retry(waiting)
    return waiting


def keep_lock(record: Execution, begins_at: int) -> bool:
    """Extends the lock of an exclusive job until the next attempt has begun; False if the lock is lost."""
    if not record["exclusive"]:
        return True
    expires_at = attempts.lock_expiry_on_job(record, _begun_by(record, begins_at) + record["ttl_seconds"])
    return lock.extend(record["service_name"], record["job_name"], record["execution_id"], expires_at)


def overdue_if_not_begun(record: Execution, begins_at: int) -> int:
    """Returns ``lock_expires_at`` of an execution whose service is notified at ``begins_at``, or a bit later.

    Both are seconds since 1970. It is never later than the longest duration allows.
    """
    begun_by_ms = _begun_by(record, begins_at) * 1000
    return lock_expiry(
        record["started_at_ms"], begun_by_ms, record["ttl_seconds"], record["max_duration_seconds"]
    )


def _begun_by(record: Execution, begins_at: int) -> int:
    """Returns by when the next attempt has surely begun. The sweep starts that of an Express execution."""
    return begins_at + (attempts.seconds_to_sweep() if is_express(record) else 0)
