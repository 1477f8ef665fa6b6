"""Executions that were started or cancelled by hand."""

from __future__ import annotations

from tests.integration.turn_invariants import decided_ms
from tests.life.checks.known import Faults, Known
from tests.life.journal import Asked, Json


def started_by_hand(known: Known) -> Faults:
    """Each execution that was started by hand has a record. A refused one had its lock held by another."""
    for asked in known.life.journal.all(Asked):
        if asked.what not in ("run", "rerun"):
            continue
        if asked.status == 201 and asked.execution_id not in known.records:
            yield f"{asked.execution_id} was started by hand, and has no record", asked.job
        elif asked.status == 409:
            named = asked.answer.get("lock_execution")
            holder = known.records.get(named, {})
            if not may_have_held(known, holder, asked.sent_ms, asked.ended()):
                yield f"refused by hand, as {named} held the lock, which it did not", asked.job
            elif "fencing_token" in holder and not _may_be_refused(known, holder, asked):
                yield "refused by hand, and the overlap of the job lets an execution wait", asked.job
    for record in known.records.values():
        original = record.get("rerun_of")
        if original and record["execution_id"] not in known.records[original].get("reruns", []):
            yield f"{original} does not know of its rerun {record['execution_id']}", record["job_name"]


def _may_be_refused(known: Known, holder: Json, asked: Asked) -> bool:
    """Whether the job may have been one whose executions do not wait."""
    return any(state.overlap == "skip" for state in known.states(holder, asked.sent_ms, asked.ended()))


def may_have_held(known: Known, holder: Json, from_ms: int, until_ms: int) -> bool:
    freed_ms = holder.get("settled_at_ms", 2**62)
    # An execution that began before its job became exclusive has no lock, but also stops others.
    is_one = bool(holder) and ("fencing_token" in holder or not holder["exclusive"])
    apart_ms = known.apart_ms(from_ms, until_ms)
    # One that waits for a slot has the lock already.
    return is_one and decided_ms(holder) <= until_ms and freed_ms >= from_ms - apart_ms


def cancelled(known: Known) -> Faults:
    """An execution is cancelled if the answer said so. A refused cancel named the right status."""
    for asked in known.life.journal.all(Asked):
        if asked.what != "cancel":
            continue
        status = known.records[asked.execution_id or ""]["status"]
        if asked.status == 200 and status != "cancelled":
            yield f"{asked.execution_id} was cancelled, and is {status}", asked.job
        if asked.status == 409 and asked.answer["execution_status"] != status:
            yield f"{asked.execution_id} was refused with {asked.answer}, and is {status}", asked.job
