"""Decides whether an execution may run now, has to wait, or is skipped; and writes that in one transaction.

First it needs the lock of its job, unless the job allows overlap; then a slot of the limit that its job
names; then a time under ``per_second``. An execution that waits for a slot or for its time keeps the lock of
its job, as if it ran. An execution that waits for the lock holds nothing.

The transaction that lets an execution wait fails if the lock or the slot is free and no other waits for it.
The write that frees a lock or a slot returns how many executions wait. So no execution is forgotten in a
queue, whatever happens between two calls.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from jobmanager.core.clock import iso
from jobmanager.executions import attempts, queues, store
from jobmanager.executions.lock_holder import KEEPS_LOCK_SECONDS, runs_without_lock
from jobmanager.executions.reasons import Reason
from jobmanager.executions.record import RUNNING, ByHand, Due, Execution, WaitsFor, waiting_record
from jobmanager.jobs import lock
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job, overlap
from jobmanager.limits import store as limits
from jobmanager.limits.definition import Limit, free_slots, waiting_count

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

MAX_WAITING = 100
"""The most executions of a job that wait for its lock."""

# An execution whose time comes this soon needs no message: it waits in the function that notifies.
_SOON_MS = 1000

type Verdict = Literal["run", "wait", "skip"]


class Admission(NamedTuple):
    """The decision about an execution. ``limit``: the limit that its job names, as it was read.

    ``reason``: why the execution waits or is skipped. ``holder``: the other execution that has the lock.
    ``may_start_at_ms``: when the execution may start, if it waits for its time.
    """

    verdict: Verdict
    reason: Reason | None = None
    waits_for: WaitsFor | None = None
    holder: str | None = None
    limit: Limit | None = None
    may_start_at_ms: int | None = None

    @property
    def takes_slot(self) -> bool:
        """Whether the execution gets a slot by this decision."""
        return self.limit is not None and "slots" in self.limit and self.waits_for not in ("lock", "slot")


def admit(job: Job, execution_id: str, at_ms: int, waiting: Execution | None = None) -> Admission:
    """Decides about an execution of a job. ``waiting``: its record, if this is its turn.

    It reserves a time if the limit has ``per_second``, so call it only to act on the answer.
    """
    waited_for = waiting["waits_for"] if waiting else None
    if waited_for == "start":
        return Admission("run")
    needs_lock = waited_for in (None, "lock")
    if needs_lock and (refused := _for_lock(job, execution_id, at_ms, waited_for)):
        return refused
    limit = limits.find(job["service_name"], job["limit"]) if "limit" in job else None
    if limit is None:
        return Admission("run")
    free = free_slots(limit)
    others_wait = waiting_count(limit) > 0 and waited_for != "slot"
    if free is not None and (free <= 0 or others_wait):
        named = f"the limit {limit['limit_name']} has {limit['slots']} slots"
        detail = f"{named}, and all are taken" if free <= 0 else f"{named}, and others wait for them"
        return Admission("wait", Reason(code="limit_reached", detail=detail), "slot", limit=limit)
    if "per_second" in limit:
        may_start_at_ms = limits.reserve(limit, "next_start_ms", at_ms)
        if may_start_at_ms > at_ms + _SOON_MS:
            allowed = f"the limit {limit['limit_name']} allows {limit['per_second']} a second"
            detail = f"{allowed}, and this one may start at {iso(may_start_at_ms)}"
            reason = Reason(code="limit_reached", detail=detail)
            return Admission("wait", reason, "start", limit=limit, may_start_at_ms=may_start_at_ms)
    return Admission("run", limit=limit)


def _for_lock(job: Job, execution_id: str, at_ms: int, waited_for: WaitsFor | None) -> Admission | None:
    """Decides that an execution waits for the lock or is skipped; None if it may take the lock."""
    if not job["exclusive"]:
        return None
    kind = overlap(job)
    holder = lock.holder(job, execution_id, at_ms)
    others = job.get("waiting_count", 0) if waited_for is None and kind != "skip" else 0
    if holder is None and not others:
        without_lock = runs_without_lock(job, execution_id, at_ms)
        if without_lock is None or waited_for is None:
            return _lock_held(without_lock) if without_lock else None
        holder = without_lock  # the sweep asks again
    if holder is not None and kind == "skip" and waited_for is None:
        return _lock_held(holder)
    if others >= MAX_WAITING:
        detail = f"{MAX_WAITING} executions wait for the lock already"
        return Admission("skip", Reason(code="queue_full", detail=detail), holder=holder)
    detail = f"the lock is held by {holder}" if holder else "others wait for the lock"
    return Admission("wait", Reason(code="lock_held", detail=detail), "lock", holder)


def _lock_held(holder: str) -> Admission:
    return Admission("skip", Reason(code="lock_held", detail=f"the lock is held by {holder}"), holder=holder)


def insert_running(record: Execution, job: Job, admission: Admission, at_ms: int) -> bool:
    """Inserts the record of an execution that may run, and takes its lock and its slot.

    False if the record exists, if the job has changed since it was read, or if another execution was faster.
    """
    return store.insert(record, *changes(record, job, admission, at_ms))


def insert_waiting(
    due: Due, job: Job, admission: Admission, at_ms: int, by_hand: ByHand | None = None
) -> Execution | None:
    """Inserts the record of an execution that has to wait; returns it.

    None if the record exists, if the job has changed since it was read, or if the lock or the slot has become
    free.
    """
    record = record_to_wait(due, job, admission, at_ms, by_hand or {})
    return record if store.insert(record, *changes(record, job, admission, at_ms)) else None


def record_to_wait(
    due: Due,
    job: Job,
    admission: Admission,
    at_ms: int,
    more: Mapping[str, Any],
    since_ms: int | None = None,
) -> Execution:
    """Builds the record of an execution that has to wait, with the fields ``more``.

    ``since_ms``: since when it waits, if not since now.
    """
    if admission.waits_for is None or admission.reason is None:
        raise AssertionError("only an execution that waits for something waits")
    record = waiting_record(due, job, admission.waits_for, admission.reason, at_ms, since_ms)
    record = cast(Execution, {**record, **more})
    if admission.may_start_at_ms is not None:
        record["may_start_at_ms"] = admission.may_start_at_ms
    return record


def changes(
    record: Execution, job: Job, admission: Admission, at_ms: int, waiting: Execution | None = None
) -> "list[TransactWriteItemTypeDef]":
    """Builds the other changes of the transaction that writes the record of an admitted execution.

    Sets ``fencing_token`` and ``holds_slot`` on the record. ``waiting``: the record that waited until now.
    The caller deletes its entry in a queue.
    """
    waited_for = waiting["waits_for"] if waiting else None
    found = _lock_changes(record, job, admission, at_ms, waited_for)
    limit = admission.limit
    if limit is not None and admission.takes_slot:
        found.append(limits.take_change(limit, record["execution_id"], waited_for == "slot"))
        record["holds_slot"] = True
    elif limit is not None and waited_for == "slot":  # the limit has no slots any more
        found += limits.leave_changes(limit)
    if limit is not None and admission.waits_for == "slot":
        found.append(limits.wait_change(limit))
    if admission.waits_for in ("lock", "slot"):
        found.append(queues.enter_change(record))
    return found


def _lock_changes(
    record: Execution, job: Job, admission: Admission, at_ms: int, waited_for: WaitsFor | None
) -> "list[TransactWriteItemTypeDef]":
    if admission.waits_for == "lock":
        # Of two that begin to wait at once, the later has to know of the other, to have one superseded.
        is_alone = overlap(job) == "queue_one" and not job.get("waiting_count")
        return [jobs.wait_change(job, 1 if is_alone else MAX_WAITING, at_ms // 1000)]
    has_waited = waited_for == "lock"
    if not record["exclusive"]:
        return [jobs.leave_change(job)] if has_waited else []
    until = at_ms // 1000 + KEEPS_LOCK_SECONDS
    if record["status"] == RUNNING:
        until = attempts.lock_expiry_on_job(record, record["lock_expires_at"])
    if waited_for in ("slot", "start") and job.get("lock_execution") == record["execution_id"]:
        return [jobs.keep_lock_change(job, record["execution_id"], until)]
    record["fencing_token"] = job.get("fencing_token", 0) + 1
    return [jobs.lock_change(job, record["execution_id"], until, at_ms // 1000, has_waited)]
