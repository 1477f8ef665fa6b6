"""How an attempt ends: with another to follow, or as the execution.

Either is one write, on the condition that the attempt has not ended: of two ends the first wins, also where
one of them would be followed by another attempt. Step Functions is told only then.
"""

from typing import Any

from jobmanager.executions import attempts
from jobmanager.executions import store as executions
from jobmanager.executions.metrics import count_retry
from jobmanager.executions.outcome import record_outcome, stored_result
from jobmanager.executions.store import Execution
from jobmanager.jobs import store as jobs
from jobmanager.runtime.logs import logger


def end_attempt(
    record: Execution, status: str, result: dict[str, Any], at_ms: int, overdue_before: int | None = None
) -> Execution | None:
    """Writes how the current attempt of ``record`` ended; None if it has ended already.

    Answers the record as it is then, still ``running`` if another attempt follows; an exclusive job's lock is
    then kept until that has begun. ``result`` and ``overdue_before`` as :func:`record_outcome` has them.
    """
    begins_at = attempts.next_begins_at(record, status, at_ms)
    if begins_at is None or not _keep_lock(record, begins_at):
        current = attempts.current(record)
        return record_outcome(record, status, result, at_ms, overdue_before, current)
    condition, values = executions.is_at_attempt(attempts.current(record))
    if overdue_before is not None:
        condition += " AND lock_expires_at < :overdue_before"
        values[":overdue_before"] = overdue_before
    ended = attempts.ended(record, status, stored_result(result), at_ms, begins_at)
    waiting = executions.update_if(
        record["execution_id"],
        "SET attempts = list_append(if_not_exists(attempts, :none), :ended), lock_expires_at = :until"
        " REMOVE service_invoked_at_ms, progress",
        condition,
        {**values, ":none": [], ":ended": [ended], ":until": begins_at + record["ttl_seconds"]},
    )
    if waiting is not None:
        logger.info(
            "another attempt follows",
            extra={
                "attempt": ended["attempt"],
                "status": status,
                "next_attempt_at": attempts.next_attempt_at(waiting),
            },
        )
        count_retry(waiting)
    return waiting


def _keep_lock(record: Execution, begins_at: int) -> bool:
    """Whether the lock, if there is one, is kept until the next attempt has begun."""
    if not record["exclusive"]:
        return True
    expires_at = attempts.holds_lock_until(record, begins_at + record["ttl_seconds"])
    return jobs.extend_lock(record["service_name"], record["job_name"], record["execution_id"], expires_at)
