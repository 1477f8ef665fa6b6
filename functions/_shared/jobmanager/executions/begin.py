"""What every begin of an execution needs, and the begin of those that the version before started.

An execution begins with the insert of its record, in one transaction with the lock that it takes. A record is
inserted only once, so a repeated begin returns the existing one.
"""

from typing import NamedTuple, cast

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.core.errors import Contended
from jobmanager.core.mappings import picked
from jobmanager.core.retry import tries
from jobmanager.executions import attempts, store
from jobmanager.executions.due import reason_not_after, reason_not_due
from jobmanager.executions.events import publish_event
from jobmanager.executions.lock_holder import holder
from jobmanager.executions.reasons import Reason
from jobmanager.executions.record import (
    RUNNING,
    CallbackFields,
    Due,
    Execution,
    first_sweep_at,
    lock_expiry,
    running_record,
    skipped_record,
    starts_at_ms,
)
from jobmanager.executions.time_limits import limits
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job, is_deleted, is_paused
from jobmanager.runtime.logs import logger

MAX_TRIES = 10
DELETED = Reason(code="job_deleted", detail="the job was deleted")


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

    For executions that the version before started: they know neither limits nor waiting. Raises Contended if
    concurrent changes of the job kept winning.
    """
    for _ in tries(MAX_TRIES):
        job = jobs.find(due["service_name"], due["job_name"])
        reason = reason_to_skip(job, due, at_ms)
        if job is not None and reason is None and (other := holder(job, due["execution_id"], at_ms)):
            reason = Reason(code="lock_held", detail=f"the lock is held by {other}")
        if job is None or reason is not None:
            record = skipped_record(due, job, reason or DELETED, at_ms, "standard")
            is_inserted = store.insert(record)
        else:
            record = running_record(due, job, at_ms, "standard")
            is_inserted = _insert_running(record, job, at_ms)
        if is_inserted:
            return record
        if earlier := store.find(due["execution_id"]):
            return earlier
    raise contended(due)


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


def is_as_inserted(found: Execution, record: Execution) -> bool:
    """Whether this invocation has just inserted the record that was found, and nothing has ended since.

    The SDK repeats an insert whose answer was lost, and then finds the record that it inserted. Another
    invocation, even with the same task token, has a secret of its own. A record without a secret counts as
    found, which is safe for every caller. Until this invocation notifies the service, another one of the
    same machine or a cancel may end the attempt or the execution.
    """
    names = ("callback_hashes", "status", "service_invoked_at_ms")
    return "callback_hashes" in record and picked(found, names) == picked(record, names)


def reachable_record(record: Execution, callback: CallbackFields, now_ms: int) -> Execution:
    """Adds what a callback needs. From now on the service may be silent as long as its job allows."""
    allowed = limits(record)
    until = lock_expiry(
        record["started_at_ms"], now_ms, allowed["ttl_seconds"], allowed["max_duration_seconds"]
    )
    begun = cast(Execution, {**record, **callback, "service_invoked_at_ms": now_ms, "lock_expires_at": until})
    begun["sweep_at"] = first_sweep_at(begun, now_ms)
    return begun


def contended(due: Due) -> Contended:
    """Returns the error for a job that others keep changing."""
    return Contended(f"{due['service_name']}/{due['job_name']} is being changed by others.")


def reason_to_skip(job: Job | None, due: Due, at_ms: int) -> Reason | None:
    """Returns why an execution is skipped whether or not anything else runs; None if it is not."""
    if job is None or is_deleted(job):
        return DELETED
    # A backfill is asked for, as a run by hand is. It need not be due, and the job may be disabled or paused.
    reason = None if "backfill_of" in due else _reason_not_by_schedule(job, due, at_ms)
    if reason is not None:
        return reason
    deadline = job.get("starting_deadline_seconds")
    late_ms = at_ms - starts_at_ms(due)
    if deadline is not None and late_ms > deadline * 1000:
        detail = f"the start was {late_ms // 1000} s late, and starting_deadline_seconds is {deadline}"
        return Reason(code="started_too_late", detail=detail)
    return None


def _reason_not_by_schedule(job: Job, due: Due, at_ms: int) -> Reason | None:
    if not job["enabled"]:
        return Reason(code="job_disabled", detail="the job is disabled")
    if is_paused(job, at_ms):
        return Reason(code="job_paused", detail=f"the job is paused: {job['paused']['reason']}")
    return reason_not_after(job, due) if "parents" in due else reason_not_due(job, due)
