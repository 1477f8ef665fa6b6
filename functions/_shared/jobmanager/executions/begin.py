"""Begins an execution by inserting its record and, for an exclusive job, taking the lock.

Both happen in one transaction. A record is inserted only once, so a repeated begin returns the existing one.
"""

import time
from typing import NamedTuple, cast

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.core.clock import clock_from
from jobmanager.core.errors import Conflict, Contended
from jobmanager.core.mappings import picked
from jobmanager.core.retry import tries
from jobmanager.executions import attempts, store
from jobmanager.executions.due import reason_not_after, reason_not_due
from jobmanager.executions.events import publish_event
from jobmanager.executions.reasons import Reason
from jobmanager.executions.record import (
    RUNNING,
    ByHand,
    Due,
    Execution,
    Waiting,
    first_sweep_at,
    lock_expiry,
    running_record,
    skipped_record,
    starts_at_ms,
)
from jobmanager.executions.time_limits import limits
from jobmanager.jobs import lock
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job, WorkflowType, is_deleted, is_paused, workflow_type
from jobmanager.runtime.logs import logger

_MAX_TRIES = 10
_INDEX_IS_LATE_MS = 2000
_DELETED = Reason(code="job_deleted", detail="the job was deleted")


class Begun(NamedTuple):
    """An execution that has begun: its record, whether it has just been inserted, and its job if so."""

    record: Execution
    is_new: bool
    job: Job | None


def begin_and_publish(due: Due, at_ms: int) -> Execution:
    """Begins a tick's execution as :func:`begin` does, and publishes that it started."""
    record = begin(due, at_ms)
    publish_begun(record, at_ms)
    return record


def publish_begun(record: Execution, at_ms: int) -> None:
    """Publishes that an execution started. If that fails, the execution continues.

    The event of a skipped one is published by :func:`jobmanager.executions.skip.publish_skip`.
    """
    if record["status"] == RUNNING:
        logger.info("execution started")
        try:
            publish_event(record, at_ms)
        except (ClientError, BotoCoreError) as error:
            logger.error("execution.started was not published", extra={"error": str(error)})
    else:
        logger.info(
            "execution not started", extra={"status": record["status"], "reason": record.get("reason")}
        )


def begin(due: Due, at_ms: int) -> Execution:
    """Begins the execution of a tick; returns its record, ``running`` or ``skipped``.

    Raises Contended if concurrent changes of the job kept winning.
    """
    return _begin(due, None, at_ms).record


def begin_waiting(due: Due, waiting: Waiting, at_ms: int) -> Begun:
    """Begins the execution of a tick as :func:`begin` does, so that its service may call back at once."""
    return _begin(due, waiting, at_ms)


def _begin(due: Due, waiting: Waiting | None, at_ms: int) -> Begun:
    clock = clock_from(at_ms)
    of_type: WorkflowType = "express" if waiting and "machine_execution" in waiting else "standard"
    for _ in tries(_MAX_TRIES):
        job = jobs.find(due["service_name"], due["job_name"])
        reason = _reason_to_skip(job, due, at_ms)
        if reason is not None or job is None:
            record = skipped_record(due, job, reason or _DELETED, at_ms, of_type)
            if waiting is not None and "machine_execution" in waiting:
                record["machine_execution"] = waiting["machine_execution"]  # by which its retry knows it
            is_inserted = store.insert(record)
        else:
            record = running_record(due, job, at_ms, of_type)
            if waiting is not None:
                record = _waiting_record(record, waiting, clock())
            is_inserted = _insert_running(record, job, at_ms)
        if is_inserted:
            return Begun(record, True, job)
        if earlier := store.find(due["execution_id"]):
            is_new = _is_as_inserted(earlier, record)
            return Begun(earlier, is_new, job if is_new else None)
    raise _contended(due)


def _is_as_inserted(found: Execution, record: Execution) -> bool:
    """Whether this invocation has just inserted the record that was found, and nothing has ended since.

    The SDK repeats an insert whose answer was lost, and then finds the record that it inserted. Another
    invocation, even with the same task token, has a secret of its own. A record without a secret counts as
    found, which is safe for every caller. Until this invocation notifies the service, another one of the
    same machine or a cancel may end the attempt or the execution.
    """
    names = ("callback_hashes", "status", "service_invoked_at_ms")
    return "callback_hashes" in record and picked(found, names) == picked(record, names)


def _waiting_record(record: Execution, waiting: Waiting, now_ms: int) -> Execution:
    """Adds what a callback needs. From now on the service may be silent as long as its job allows."""
    allowed = limits(record)
    until = lock_expiry(
        record["started_at_ms"], now_ms, allowed["ttl_seconds"], allowed["max_duration_seconds"]
    )
    begun = cast(Execution, {**record, **waiting, "service_invoked_at_ms": now_ms, "lock_expires_at": until})
    begun["sweep_at"] = first_sweep_at(begun, now_ms)
    return begun


def begin_by_hand(due: Due, by_hand: ByHand, at_ms: int) -> Execution:
    """Begins an execution that a caller requested, even if its job is disabled or paused; returns its record.

    Raises NotFound if there is no such job, and Conflict with ``lock_execution`` while its lock is held.
    """
    for _ in tries(_MAX_TRIES):
        if earlier := store.find(due["execution_id"]):
            return earlier
        job = jobs.read(due["service_name"], due["job_name"])
        if holder := _holder(job, due["execution_id"], at_ms):
            raise Conflict(
                f"The lock of {job['job_key']} is held by {holder}. Wait for its end, or cancel it.",
                lock_execution=holder,
            )
        begun = running_record(due, job, at_ms, workflow_type(job))
        record: Execution = {**begun, **by_hand}
        if _insert_running(record, job, at_ms):
            return record
    raise _contended(due)


def _contended(due: Due) -> Contended:
    return Contended(f"{due['service_name']}/{due['job_name']} is being changed by others.")


def _reason_to_skip(job: Job | None, due: Due, at_ms: int) -> Reason | None:
    if job is None or is_deleted(job):
        return _DELETED
    # A backfill is asked for, as a run by hand is. It need not be due, and the job may be disabled or paused.
    reason = None if "backfill_of" in due else _reason_not_by_schedule(job, due, at_ms)
    if reason is not None:
        return reason
    deadline = job.get("starting_deadline_seconds")
    late_ms = at_ms - starts_at_ms(due)
    if deadline is not None and late_ms > deadline * 1000:
        detail = f"the start was {late_ms // 1000} s late, and starting_deadline_seconds is {deadline}"
        return Reason(code="started_too_late", detail=detail)
    if holder := _holder(job, due["execution_id"], at_ms):
        return Reason(code="lock_held", detail=f"the lock is held by {holder}")
    return None


def _reason_not_by_schedule(job: Job, due: Due, at_ms: int) -> Reason | None:
    if not job["enabled"]:
        return Reason(code="job_disabled", detail="the job is disabled")
    if is_paused(job, at_ms):
        return Reason(code="job_paused", detail=f"the job is paused: {job['paused']['reason']}")
    return reason_not_after(job, due) if "parents" in due else reason_not_due(job, due)


def _holder(job: Job, execution_id: str, at_ms: int) -> str | None:
    """Returns the other execution that keeps this one from beginning; None if the lock can be taken.

    A job that became exclusive while it ran has executions without the lock. Until they have ended, no other
    begins. Right after the change, this waits until the index has all of them.
    """
    holder = lock.holder(job, execution_id, at_ms)
    if holder or "exclusive_since_ms" not in job:
        return holder
    wait_ms = min(job["exclusive_since_ms"] + _INDEX_IS_LATE_MS - at_ms, _INDEX_IS_LATE_MS)
    time.sleep(max(wait_ms, 0) / 1000)
    now = at_ms // 1000
    for other in store.open_of_job(job["job_guid"]):
        if other != execution_id and _runs_without_lock(store.find(other), now):
            return other
    return None


def _runs_without_lock(record: Execution | None, now_seconds: int) -> bool:
    if record is None or record["status"] != RUNNING or "fencing_token" in record:
        return False
    return record["lock_expires_at"] > now_seconds


def _insert_running(record: Execution, job: Job, at_ms: int) -> bool:
    """Inserts the record and, if the job is exclusive, takes the lock.

    False if the record exists, if the job has changed since it was read, or if another execution has the
    lock.
    """
    if not job["exclusive"]:
        return store.insert(record)
    record["fencing_token"] = job.get("fencing_token", 0) + 1
    until = attempts.lock_expiry_on_job(record, record["lock_expires_at"])
    return store.insert(record, jobs.lock_change(job, record["execution_id"], until, at_ms // 1000))
