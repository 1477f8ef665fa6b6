"""Begins executions: an execution runs if it may run now, and otherwise waits for its turn.

The transaction that inserts its record takes the lock and the slot (:mod:`jobmanager.executions.admission`).
"""

from jobmanager.core.clock import clock_from
from jobmanager.core.errors import Conflict
from jobmanager.core.retry import tries
from jobmanager.executions import store
from jobmanager.executions.admission import Admission, admit, insert_running, insert_waiting
from jobmanager.executions.begin import (
    DELETED,
    MAX_TRIES,
    Begun,
    contended,
    is_as_inserted,
    reachable_record,
    reason_to_skip,
)
from jobmanager.executions.handing_over import ask_for_turn
from jobmanager.executions.metrics import count_waiting
from jobmanager.executions.pacing import send_at_its_time
from jobmanager.executions.record import (
    WAITING,
    ByHand,
    CallbackFields,
    Due,
    Execution,
    running_record,
    skipped_record,
)
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job, WorkflowType, overlap, workflow_type
from jobmanager.limits.definition import free_slots


def begin_to_notify(due: Due, callback: CallbackFields, at_ms: int) -> Begun:
    """Begins the execution of a tick, so that its service may call back at once.

    Its record is ``running``, ``waiting`` or ``skipped``. Raises Contended if concurrent changes of the job
    kept winning.
    """
    clock = clock_from(at_ms)
    of_type: WorkflowType = "express" if "machine_execution" in callback else "standard"
    for _ in tries(MAX_TRIES):
        job = jobs.find(due["service_name"], due["job_name"])
        reason = reason_to_skip(job, due, at_ms)
        admission = None if job is None or reason else admit(job, due["execution_id"], at_ms)
        record: Execution | None
        if job is None or admission is None or admission.verdict == "skip":
            why = reason or (admission.reason if admission else None) or DELETED
            record = skipped_record(due, job, why, at_ms, of_type)
            if "machine_execution" in callback:
                record["machine_execution"] = callback["machine_execution"]  # by which its retry knows it
            is_inserted = store.insert(record)
        elif admission.verdict == "wait":
            record = _begin_to_wait(due, job, admission, at_ms)
            is_inserted = record is not None
        else:
            record = reachable_record(running_record(due, job, at_ms, of_type), callback, clock())
            is_inserted = insert_running(record, job, admission, at_ms)
        if record is not None and is_inserted:
            return Begun(record, True, job)
        if earlier := store.find(due["execution_id"]):
            if earlier["status"] == WAITING:
                ask_for_turn(earlier)
            is_new = record is not None and is_as_inserted(earlier, record)
            return Begun(earlier, is_new, job if is_new else None)
    raise contended(due)


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
    """Whether to ask for the execution's turn at once. Otherwise the end of another execution does so.

    The job's ``overlap`` may let it supersede a waiting execution, or cancel the running one. Or the lock or
    a slot is free, and executions that waited before are about to get it.
    """
    if admission.waits_for == "lock":
        kind = overlap(job)
        others = job.get("waiting_count", 0) > 0
        return admission.holder is None or kind == "cancel_running" or (kind == "queue_one" and others)
    free = free_slots(admission.limit) if admission.limit is not None else None
    return free is not None and free > 0


def begin_by_hand(due: Due, by_hand: ByHand, at_ms: int) -> Execution:
    """Begins an execution that a caller requested, even if its job is disabled or paused; returns its record.

    Raises NotFound if there is no such job, and Conflict, with ``lock_execution``, if the job's lock is held
    and its ``overlap`` does not let it wait.
    """
    for _ in tries(MAX_TRIES):
        if earlier := store.find(due["execution_id"]):
            if earlier["status"] == WAITING:
                ask_for_turn(earlier)
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
    raise contended(due)


def _refused(job: Job, admission: Admission) -> Conflict:
    reason = admission.reason
    if admission.holder is not None and reason is not None and reason["code"] == "lock_held":
        return Conflict(
            f"The lock of {job['job_key']} is held by {admission.holder}. Wait for its end, or cancel it.",
            lock_execution=admission.holder,
        )
    detail = reason["detail"] if reason is not None else "it may not run now"
    return Conflict(f"{job['job_key']} was not started: {detail}.")
