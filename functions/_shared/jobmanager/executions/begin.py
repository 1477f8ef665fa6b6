"""Begins an execution by inserting its record, with what it needs to run: see admission.

Both happen in one transaction. A record is inserted only once, so a repeated begin returns the existing one.
"""

from typing import NamedTuple, cast

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.core.clock import clock_from
from jobmanager.core.errors import Conflict, Contended
from jobmanager.core.mappings import picked
from jobmanager.core.retry import tries
from jobmanager.executions import store
from jobmanager.executions.admission import Admission, admit, insert_running, insert_waiting
from jobmanager.executions.due import reason_not_due
from jobmanager.executions.events import publish_event
from jobmanager.executions.metrics import count_waiting
from jobmanager.executions.pacing import send_at_its_time
from jobmanager.executions.reasons import Reason
from jobmanager.executions.record import (
    RUNNING,
    WAITING,
    ByHand,
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
from jobmanager.executions.waiting import ask_for_turn
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job, WorkflowType, is_deleted, is_paused, overlap, workflow_type
from jobmanager.limits.definition import free_slots
from jobmanager.runtime.logs import logger

_MAX_TRIES = 10
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
    """Begins the execution of a tick; returns its record: ``running``, ``waiting`` or ``skipped``.

    Raises Contended if concurrent changes of the job kept winning.
    """
    return _begin(due, None, at_ms).record


def begin_to_notify(due: Due, callback: CallbackFields, at_ms: int) -> Begun:
    """Begins the execution of a tick as :func:`begin` does, so that its service may call back at once."""
    return _begin(due, callback, at_ms)


def _begin(due: Due, callback: CallbackFields | None, at_ms: int) -> Begun:
    clock = clock_from(at_ms)
    is_of_express = callback is not None and "machine_execution" in callback
    of_type: WorkflowType = "express" if is_of_express else "standard"
    for _ in tries(_MAX_TRIES):
        job = jobs.find(due["service_name"], due["job_name"])
        reason = _reason_to_skip(job, due, at_ms)
        admission = None if job is None or reason else _admit(job, due, callback is not None, at_ms)
        record: Execution | None
        if job is None or admission is None or admission.verdict == "skip":
            why = reason or (admission.reason if admission else None) or _DELETED
            record = skipped_record(due, job, why, at_ms, of_type)
            if callback is not None and "machine_execution" in callback:
                record["machine_execution"] = callback["machine_execution"]  # by which its retry knows it
            is_inserted = store.insert(record)
        elif admission.verdict == "wait":
            record = _begin_to_wait(due, job, admission, at_ms)
            is_inserted = record is not None
        else:
            record = running_record(due, job, at_ms, of_type)
            if callback is not None:
                record = _reachable_record(record, callback, clock())
            is_inserted = insert_running(record, job, admission, at_ms)
        if record is not None and is_inserted:
            return Begun(record, True, job)
        if earlier := store.find(due["execution_id"]):
            if earlier["status"] == WAITING and callback is not None:
                ask_for_turn(earlier)
            is_new = record is not None and _is_as_inserted(earlier, record)
            return Begun(earlier, is_new, job if is_new else None)
    raise _contended(due)


def _admit(job: Job, due: Due, may_wait: bool, at_ms: int) -> Admission:
    """Decides about the execution. One that the version before started knows neither limits nor waiting."""
    if may_wait:
        return admit(job, due["execution_id"], at_ms)
    without_limit = cast(Job, {name: value for name, value in job.items() if name != "limit"})
    admission = admit(without_limit, due["execution_id"], at_ms)
    return admission._replace(verdict="skip") if admission.verdict == "wait" else admission


def _begin_to_wait(
    due: Due, job: Job, admission: Admission, at_ms: int, by_hand: ByHand | None = None
) -> Execution | None:
    """Inserts the record of an execution that has to wait, and sees to it that its turn comes.

    If the function dies between the two, its retry or the sweep asks for the turn.
    """
    record = insert_waiting(due, job, admission, at_ms, by_hand)
    if record is None:
        return None
    count_waiting(record)
    if record["waits_for"] == "start":
        send_at_its_time(record, at_ms)
    elif _has_something_to_do(job, admission):
        ask_for_turn(record)
    return record


def _has_something_to_do(job: Job, admission: Admission) -> bool:
    """Whether what the execution waits for does not just come as another ends.

    Another that waits is superseded, or the one that runs is cancelled; or what it waits for is free, and
    others are about to get it.
    """
    if admission.waits_for == "lock":
        kind = overlap(job)
        others = job.get("waiting_count", 0) > 0
        return admission.holder is None or kind == "cancel_running" or (kind == "queue_one" and others)
    free = free_slots(admission.limit) if admission.limit is not None else None
    return free is not None and free > 0


def _is_as_inserted(found: Execution, record: Execution) -> bool:
    """Whether this invocation has just inserted the record that was found, and nothing has ended since.

    The SDK repeats an insert whose answer was lost, and then finds the record that it inserted. Another
    invocation, even with the same task token, has a secret of its own. A record without a secret counts as
    found, which is safe for every caller. Until this invocation notifies the service, another one of the
    same machine or a cancel may end the attempt or the execution.
    """
    names = ("callback_hashes", "status", "service_invoked_at_ms")
    return "callback_hashes" in record and picked(found, names) == picked(record, names)


def _reachable_record(record: Execution, callback: CallbackFields, now_ms: int) -> Execution:
    """Adds what a callback needs. From now on the service may be silent as long as its job allows."""
    allowed = limits(record)
    until = lock_expiry(
        record["started_at_ms"], now_ms, allowed["ttl_seconds"], allowed["max_duration_seconds"]
    )
    begun = cast(Execution, {**record, **callback, "service_invoked_at_ms": now_ms, "lock_expires_at": until})
    begun["sweep_at"] = first_sweep_at(begun, now_ms)
    return begun


def begin_by_hand(due: Due, by_hand: ByHand, at_ms: int) -> Execution:
    """Begins an execution that a caller requested, even if its job is disabled or paused; returns its record.

    Raises NotFound if there is no such job, and Conflict, with ``lock_execution``, if the job's lock is held
    and its ``overlap`` does not let it wait.
    """
    for _ in tries(_MAX_TRIES):
        if earlier := store.find(due["execution_id"]):
            return earlier
        job = jobs.read(due["service_name"], due["job_name"])
        admission = admit(job, due["execution_id"], at_ms)
        if admission.verdict == "skip":
            raise _refused(job, admission)
        if admission.verdict == "wait":
            waiting = _begin_to_wait(due, job, admission, at_ms, by_hand)
            if waiting is not None:
                return waiting
            continue
        begun = running_record(due, job, at_ms, workflow_type(job))
        record: Execution = {**begun, **by_hand}
        if insert_running(record, job, admission, at_ms):
            return record
    raise _contended(due)


def _refused(job: Job, admission: Admission) -> Conflict:
    reason = admission.reason
    if admission.holder is not None and reason is not None and reason["code"] == "lock_held":
        return Conflict(
            f"The lock of {job['job_key']} is held by {admission.holder}. Wait for its end, or cancel it.",
            lock_execution=admission.holder,
        )
    detail = reason["detail"] if reason is not None else "it may not run now"
    return Conflict(f"{job['job_key']} was not started: {detail}.")


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
    return None


def _reason_not_by_schedule(job: Job, due: Due, at_ms: int) -> Reason | None:
    if not job["enabled"]:
        return Reason(code="job_disabled", detail="the job is disabled")
    if is_paused(job, at_ms):
        return Reason(code="job_paused", detail=f"the job is paused: {job['paused']['reason']}")
    return reason_not_due(job, due)
