"""Ends waiting executions, and decides until when they may wait.

The caller settles each execution that was ended here.
"""

from typing import Any, Literal

from jobmanager.executions import queues, store
from jobmanager.executions.lock_holder import KEEPS_LOCK_SECONDS
from jobmanager.executions.reasons import Reason
from jobmanager.executions.record import Execution, starting_deadline
from jobmanager.jobs import lock
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job, is_deleted
from jobmanager.limits import store as limits
from jobmanager.runtime.logs import logger


def end_waiting(
    record: Execution, status: Literal["skipped", "cancelled"], result: dict[str, Any], at_ms: int
) -> Execution | None:
    """Ends a waiting execution; returns its record, which the caller settles.

    ``result``: its ``reason`` or ``cause``. None if it does not wait any more, or waits for something else.
    """
    job = jobs.find_without_large_values(record["service_name"], record["job_name"])
    changes = []
    if record["waits_for"] in ("lock", "slot"):
        changes.append(queues.leave_change(record))
    if record["waits_for"] == "lock" and job is not None:
        changes.append(jobs.leave_change(job))
    if record["waits_for"] == "slot" and (limit := limits.find(record["service_name"], record["limit"])):
        changes += limits.leave_changes(limit)
    ended = {"status": status, "finished_at_ms": at_ms, "sweep_at": at_ms // 1000, **result}
    if not store.end_waiting(record, ended, *changes):
        return None
    logger.info("waiting execution ended", extra={"status": status})
    return store.find(record["execution_id"])


def skip_waiting(record: Execution, reason: Reason, at_ms: int) -> Execution | None:
    """Ends a waiting execution as skipped; returns its record as :func:`end_waiting` does."""
    return end_waiting(record, "skipped", {"reason": reason}, at_ms)


def why_too_late(record: Execution, job: Job, at_ms: int) -> Reason | None:
    """Returns why a waiting execution may not start any more; None if it may.

    It may start until the ``starting_deadline_seconds`` of its job have passed, and while the job exists.
    Another job that was created under the same name since does not count.
    """
    if is_deleted(job) or job["created_at"] != record.get("job_created_at", job["created_at"]):
        return Reason(code="job_deleted", detail="the job was deleted while the execution waited")
    deadline = starting_deadline(record, job)
    if deadline is None or at_ms // 1000 <= deadline:
        return None
    detail = f"{record['reason']['detail']}, and starting_deadline_seconds have passed"
    return Reason(code=record["reason"]["code"], detail=detail)


def keep_lock_while_waiting(record: Execution, at_ms: int) -> bool:
    """Extends the lock of an execution that waits for a slot or for its time; False if it has lost it."""
    if "fencing_token" not in record:
        return True
    until = at_ms // 1000 + KEEPS_LOCK_SECONDS
    return lock.extend(record["service_name"], record["job_name"], record["execution_id"], until)
