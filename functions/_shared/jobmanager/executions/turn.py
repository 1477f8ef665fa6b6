"""Starts executions that wait, as soon as their turn has come.

One transaction gives an execution the lock or the slot that it waits for, and makes its record ``running``.
So each execution gets its turn once, even if several functions look at the same time. Then its state machine
is started, under a name of its own. If the function dies in between, the sweep starts the machine
(:mod:`jobmanager.executions.reap`).

Each look begins at the head of the queue, and reads everything consistently. So a look is safe to repeat, and
several may run at once.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any, Literal, cast

from jobmanager.core.clock import clock_from
from jobmanager.core.errors import Conflict, Contended, ManagerError
from jobmanager.core.mappings import picked
from jobmanager.core.retry import tries
from jobmanager.executions import queues, store
from jobmanager.executions.admission import Admission, admit, changes, record_to_wait
from jobmanager.executions.cancel import cancel
from jobmanager.executions.machine import start_machine_of
from jobmanager.executions.pacing import EARLY_MS, send_at_its_time
from jobmanager.executions.reasons import Reason
from jobmanager.executions.record import (
    KEPT_OF_WAITING,
    WAITING,
    Due,
    Execution,
    WaitsFor,
    resumed_record,
)
from jobmanager.executions.settle import settle
from jobmanager.executions.waiting import skip_waiting, why_too_late
from jobmanager.jobs import lock
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job, is_deleted, overlap
from jobmanager.limits import store as limits
from jobmanager.limits.definition import free_slots
from jobmanager.runtime.logs import logger

_MAX_TRIES = 12
_PER_ROUND = 25
# Enough for the calls for one execution, even if each is slow.
_TIME_FOR_ONE_MS = 10_000

_TIMING = ("schedule", "time_zone", "start_at", "end_at")

_SUPERSEDED = Reason(code="superseded", detail="a later execution of the job waits in its place")
_DELETED = Reason(code="job_deleted", detail="the job was deleted while the execution waited")

type Outcome = Literal["started", "moved", "ended", "waits", "changed"]


def give_turns(asked: dict[str, str], at_ms: int, remaining_ms: Callable[[], int]) -> int:
    """Starts the waiting executions whose turn has come; returns how many.

    ``asked`` names a job whose lock may be free (``service_name``, ``job_name``), a limit whose slots may be
    free (``service_name``, ``limit_name``), or an execution whose time may have come (``execution_id``).
    Raises Contended if others kept changing the job or the limit.
    """
    if "execution_id" in asked:
        return _turn_at_its_time(asked["execution_id"], at_ms)
    if "limit_name" in asked:
        return _turns_of_slots(asked["service_name"], asked["limit_name"], at_ms, remaining_ms)
    return _turns_of_lock(asked["service_name"], asked["job_name"], at_ms, remaining_ms)


def _turn_at_its_time(execution_id: str, at_ms: int) -> int:
    """Starts an execution that waits for its time, or sends its message again if it is early."""
    for _ in tries(_MAX_TRIES):
        record = store.find(execution_id)
        if record is None or record["status"] != WAITING or record["waits_for"] != "start":
            return 0
        if record["may_start_at_ms"] > at_ms + EARLY_MS:
            send_at_its_time(record, at_ms)
            return 0
        outcome = _give_turn(record, at_ms)
        if outcome != "changed":
            return int(outcome == "started")
    raise Contended(f"{execution_id} is being changed by others.")


def _turns_of_lock(service_name: str, job_name: str, at_ms: int, remaining_ms: Callable[[], int]) -> int:
    """Gives the lock of a job to the next execution. First ends those that ``overlap`` lets wait no more."""
    started, unchanged, clock = 0, 0, clock_from(at_ms)
    while remaining_ms() > _TIME_FOR_ONE_MS and unchanged < _MAX_TRIES:
        now_ms = clock()
        job = jobs.find_without_large_values(service_name, job_name)
        if job is None:
            return started
        waiting = list(queues.waiting_in(queues.queue_of_lock(job["job_guid"])))
        if not waiting:
            return started
        kind = overlap(job)
        if is_deleted(job):
            superseded, waiting = waiting, []
        elif kind in ("queue_one", "cancel_running"):
            superseded, waiting = waiting[:-1], waiting[-1:]
        else:
            superseded = []
        for execution_id in superseded:
            _skip_superseded(execution_id, job, now_ms)
        if not waiting:
            return started
        holder = lock.holder(job, "", now_ms)
        if holder is not None:
            if kind != "cancel_running" or not _cancel(holder, waiting[0], now_ms):
                return started
            continue
        outcome = _give_turn_to(waiting[0], "lock", clock())
        if outcome == "waits" and not (kind == "cancel_running" and _is_held_again(job, clock())):
            return started
        started += outcome == "started"
        unchanged = unchanged + 1 if outcome in ("changed", "waits") else 0
    return _stopped(started, unchanged, f"{service_name}/{job_name}")


def _is_held_again(job: Job, at_ms: int) -> bool:
    """Whether the lock is held although ``job`` had it free: a late heartbeat extends an expired lock."""
    read_again = jobs.find_without_large_values(job["service_name"], job["job_name"])
    return read_again is not None and lock.holder(read_again, "", at_ms) is not None


def _turns_of_slots(service_name: str, limit_name: str, at_ms: int, remaining_ms: Callable[[], int]) -> int:
    """Gives the free slots of a limit to the next executions; starts all if the limit was deleted."""
    started, unchanged, clock = 0, 0, clock_from(at_ms)
    while remaining_ms() > _TIME_FOR_ONE_MS and unchanged < _MAX_TRIES:
        limit = limits.find(service_name, limit_name)
        free = free_slots(limit) if limit is not None else None
        if free is not None and free <= 0:
            return started
        queue = queues.queue_of_slots(service_name, limit_name)
        waiting = list(islice(queues.waiting_in(queue), min(_PER_ROUND, free or _PER_ROUND)))
        if not waiting:
            return started
        for execution_id in waiting:
            outcome = _give_turn_to(execution_id, "slot", clock())
            if outcome == "waits":
                return started
            started += outcome == "started"
            unchanged = unchanged + 1 if outcome == "changed" else 0
    return _stopped(started, unchanged, f"{service_name}/{limit_name}")


def _stopped(started: int, unchanged: int, name: str) -> int:
    if unchanged >= _MAX_TRIES:
        raise Contended(f"{name} is being changed by others.")
    logger.warning("waiting executions were left for the next look", extra={"started": started})
    return started


def _give_turn_to(execution_id: str, waits_for: WaitsFor, at_ms: int) -> Outcome:
    """Gives its turn to an execution that was found in a queue, if it still waits for ``waits_for``."""
    record = store.find(execution_id)
    if record is None or record["status"] != WAITING or record["waits_for"] != waits_for:
        return "changed"
    return _give_turn(record, at_ms)


def _give_turn(record: Execution, at_ms: int) -> Outcome:
    """Starts a waiting execution if it may run; else lets it wait for what it needs next, or ends it."""
    job = jobs.find(record["service_name"], record["job_name"])
    if job is None:
        raise ManagerError(f"the job of {record['execution_id']} does not exist any more")
    job = _as_decided(job, record)
    why_not = why_too_late(record, job, at_ms) or _why_lock_lost(record, job, at_ms)
    admission = admit(job, record["execution_id"], at_ms, record) if why_not is None else None
    if admission is None or admission.verdict == "skip":
        return _skip(record, why_not or (admission.reason if admission else None) or _DELETED, at_ms)
    if admission.waits_for == record["waits_for"]:
        return "waits"
    may_run = admission.verdict == "run"
    new = resumed_record(record, job, at_ms) if may_run else _moved(record, job, admission, at_ms)
    others = changes(new, job, admission, at_ms, record)
    if record["waits_for"] in ("lock", "slot"):
        others.append(queues.leave_change(record))
    if not store.replace_waiting(record, new, *others):
        return "changed"
    logger.info("turn given", extra={"execution_id": new["execution_id"], "status": new["status"]})
    if may_run:
        start_machine_of(new)
    elif new["waits_for"] == "start":
        send_at_its_time(new, at_ms)
    return "started" if may_run else "moved"


def _why_lock_lost(record: Execution, job: Job, at_ms: int) -> Reason | None:
    """Returns why an execution that kept the lock while it waited may not run; None if it has the lock."""
    has_waited_with_it = record["waits_for"] != "lock" and "fencing_token" in record
    if not has_waited_with_it or not lock.holder(job, record["execution_id"], at_ms):
        return None
    return Reason(code="lock_lost", detail="the lock passed to another execution while this one waited")


def _as_decided(job: Job, record: Execution) -> Job:
    """Returns the job with those fields that a change no longer affects for this execution.

    These are the timing by which it was due and, once it waits for a slot or for its time, ``exclusive`` and
    ``limit``.
    """
    as_it_is = {name: value for name, value in job.items() if name not in _TIMING}
    decided: dict[str, Any] = picked(record, _TIMING)
    if record["waits_for"] != "lock":
        decided |= {"exclusive": record["exclusive"], "limit": record["limit"]}
    return cast(Job, {**as_it_is, **decided})


def _moved(record: Execution, job: Job, admission: Admission, at_ms: int) -> Execution:
    """Builds the record of an execution that has the lock, and now waits for a slot or for its time."""
    due, kept = cast(Due, picked(record, Due.__annotations__)), picked(record, KEPT_OF_WAITING)
    return record_to_wait(due, job, admission, at_ms, kept, record["waiting_since_ms"])


def _skip_superseded(execution_id: str, job: Job, at_ms: int) -> None:
    record = store.find(execution_id)
    if record is not None and record["status"] == WAITING and record["waits_for"] == "lock":
        _skip(record, why_too_late(record, job, at_ms) or _SUPERSEDED, at_ms)


def _skip(record: Execution, reason: Reason, at_ms: int) -> Outcome:
    ended = skip_waiting(record, reason, at_ms)
    if ended is None:
        return "changed"
    settle(ended, at_ms)
    return "ended"


def _cancel(holder: str, by: str, at_ms: int) -> bool:
    """Cancels the execution that has the lock; False if it has ended otherwise, and is about to free it."""
    record = store.find(holder)
    if record is None:
        return False
    try:
        cancel(record, f"cancelled by the manager: {by} takes its place, as the job's overlap says", at_ms)
    except Conflict:
        return False
    return True
