"""Executions that wait for the lock of their job: whose turn it is, who is ended for whom, what is left."""

from __future__ import annotations

from collections.abc import Iterator

from tests.integration.turn_invariants import decided_ms
from tests.life.checks.known import (
    READ_MS,
    Faults,
    Known,
    has_begun,
    has_waited,
)
from tests.life.journal import Asked, Json
from tests.life.living import CANCELLED_BY_OVERLAP, Job
from tests.life.model import NO_JOB

TURN_MS = 20_000
"""How long after a lock or a slot was freed the next execution may begin."""

_LOOK_MS = 5000
"""How old what a function has read of a job may be as it acts by that."""

_NEWEST_FIRST = {"queue_one", "cancel_running"}


def running_beside(known: Known) -> Faults:
    """After its job got a lock, no execution takes it before those have ended that began without it."""
    for job in known.life.all_jobs:
        run = [record for record in known.of_job(job) if known.deliveries.get(record["execution_id"])]
        for record in run:
            name = record["execution_id"]
            if "fencing_token" in record:
                continue
            free_ms = min(record["finished_at_ms"], 1000 * record["lock_expires_at"])
            for holder in run:
                next_name = holder["execution_id"]
                notified_ms = known.deliveries[next_name][0].sent_ms
                is_later = known.deliveries[name][0].sent_ms < decided_ms(holder)
                is_beside = free_ms > notified_ms + known.apart_ms(notified_ms)
                if "fencing_token" in holder and is_later and is_beside:
                    yield f"{next_name} took the lock and was notified while {name} ran without it", job.name


def order_of_turns(known: Known) -> Faults:
    """Those that wait for a lock get it in the order in which they were due, and before any that comes later.

    The fencing tokens tell in which order it was got. With ``skip``, a newcomer need not line up.
    """
    for job in known.life.all_jobs:
        holders = list(_holders(known, job))
        for place, (record, _) in enumerate(holders):
            for earlier, got_ms in holders[:place]:
                since_ms = decided_ms(record) + known.apart_ms(decided_ms(record))
                was_first = has_waited(record) and queue_key(record) < queue_key(earlier)
                if was_first and since_ms < got_ms and not _needs_no_queue(known, earlier):
                    names = earlier["execution_id"], record["execution_id"]
                    yield f"{names[0]} got the lock, and {names[1]} waited for it before", job.name


def _holders(known: Known, job: Job) -> Iterator[tuple[Json, int]]:
    """The holders of a lock in their order, each with the earliest time at which it can have got it."""
    holders = [record for record in known.of_job(job) if "fencing_token" in record]
    holders.sort(key=lambda record: int(record["fencing_token"]))
    free_ms = 0
    for record in holders:
        yield record, max(decided_ms(record), free_ms)
        # One that is cancelled or skipped while it waits for a slot has had the lock, and no deadline.
        expires_ms = 1000 * record.get("lock_expires_at", 2**50)
        free_ms = min(record["finished_at_ms"], expires_ms)


def queue_key(record: Json) -> tuple[int, int, str]:
    """The order of executions that wait: by the time at which each was due, then as they came."""
    return record["scheduled_time_ms"] // 1000, decided_ms(record), record["execution_id"]


def _needs_no_queue(known: Known, record: Json) -> bool:
    return any(state.overlap == "skip" for state in known.states(record, decided_ms(record)))


def newest_waits(known: Known) -> Faults:
    """If one may wait, it is the newest: an older one is superseded soon, and none is without a newer one."""
    for job in known.life.all_jobs:
        waited = [record for record in known.of_job(job) if has_waited(record)]
        for record in waited:
            if record["status"] == "skipped" and record["reason"]["code"] == "superseded":
                if not _may_be_superseded(known, job, record, waited):
                    yield f"{record['execution_id']} was superseded, and no newer one waited", job.name
                continue
            for newer in waited:
                if queue_key(newer) > queue_key(record) and _both_waited(known, job, record, newer):
                    names = record["execution_id"], newer["execution_id"]
                    yield f"{names[0]} went on waiting for the lock, although {names[1]} did", job.name


def _may_be_superseded(known: Known, job: Job, record: Json, waited: list[Json]) -> bool:
    ended_ms = record["finished_at_ms"]
    apart_ms = known.apart_ms(ended_ms)
    states = job.timeline.possible(ended_ms - _LOOK_MS - apart_ms, ended_ms + apart_ms)
    return any(state.overlap in _NEWEST_FIRST for state in states) and any(
        queue_key(newer) > queue_key(record)
        and decided_ms(newer) <= ended_ms + apart_ms
        and _left_ms(newer) >= ended_ms - apart_ms
        for newer in waited
    )


def _both_waited(known: Known, job: Job, record: Json, newer: Json) -> bool:
    """Whether an older execution waited for the lock beside a newer one for long, and only one may."""
    from_ms = max(decided_ms(record), decided_ms(newer))
    until_ms = from_ms + TURN_MS + known.late_ms(from_ms, from_ms + TURN_MS)
    waits_for_lock = _left_queue_ms(known, job, record) > until_ms
    is_newer_there = _left_queue_ms(known, job, newer) > until_ms
    states = job.timeline.possible(from_ms - READ_MS, until_ms)
    return waits_for_lock and is_newer_there and all(state.overlap in _NEWEST_FIRST for state in states)


def _left_ms(record: Json) -> int:
    """When an execution that had to wait did so no more."""
    left: int = record["started_at_ms"] if has_begun(record) else record["finished_at_ms"]
    return left


def _left_queue_ms(known: Known, job: Job, record: Json) -> int:
    """The earliest time at which an execution that had to wait can have left the queue for the lock."""
    if "fencing_token" not in record:
        # Without the lock it may have waited for a slot, if its job had no lock for a while.
        return decided_ms(record) if "limit" in record else _left_ms(record)
    got: int = next(got_ms for each, got_ms in _holders(known, job) if each is record)
    return got


def cancelled_for_the_next(known: Known) -> Faults:
    """With ``cancel_running``, what runs ends soon after the next execution has begun to wait."""
    for job in known.life.all_jobs:
        of_it = known.of_job(job)
        for waiting in filter(has_waited, of_it):
            from_ms = waiting["waiting_since_ms"]
            until_ms = from_ms + TURN_MS + known.late_ms(from_ms, from_ms + TURN_MS)
            states = job.timeline.possible(from_ms - READ_MS, until_ms)
            if _left_ms(waiting) <= until_ms or {state.overlap for state in states} != {"cancel_running"}:
                continue
            for record in of_it:
                had_lock = "fencing_token" in record and has_begun(record)
                ran = had_lock and record["started_at_ms"] + known.apart_ms(from_ms) < from_ms
                if ran and record["finished_at_ms"] > until_ms:
                    names = record["execution_id"], waiting["execution_id"]
                    yield f"{names[0]} ran on, and was to be cancelled for {names[1]}", job.name


def may_be_cancelled_for(known: Known, record: Json) -> bool:
    """Whether an execution that was cancelled for another one had to be."""
    next_name = record["cause"].removeprefix(CANCELLED_BY_OVERLAP).partition(" ")[0]
    waiting, ended_ms = known.records.get(next_name, {}), record["finished_at_ms"]
    apart_ms = known.apart_ms(ended_ms)
    if waiting.get("job_guid") != record["job_guid"] or not has_waited(waiting):
        return False
    states = known.states(record, ended_ms - _LOOK_MS - apart_ms, ended_ms)
    waited = decided_ms(waiting) <= ended_ms + apart_ms and _left_ms(waiting) >= ended_ms - apart_ms
    return waited and any(state.overlap == "cancel_running" for state in states)


def ended_waits(known: Known) -> Faults:
    """An execution waits until its turn has come, its deadline has passed, or its job is deleted."""
    for name, record in known.records.items():
        if not has_waited(record):
            continue
        job_name, code = record["job_name"], record.get("reason", {}).get("code")
        if has_begun(record):
            if why := _why_not_begin(known, record):
                yield f"{name} had to wait, and began {why}", job_name
        elif record["status"] == "skipped" and code in ("lock_held", "limit_reached"):
            states = known.states(record, decided_ms(record), record["finished_at_ms"])
            until = [_deadline(record, state.fields) for state in states]
            if record["finished_at_ms"] // 1000 <= min(until):
                yield f"{name} was skipped as {code} before its deadline had passed", job_name
        elif code == "job_deleted":
            states = known.states(record, decided_ms(record), record["finished_at_ms"])
            if NO_JOB not in states:
                yield f"{name} was skipped, and its job was not deleted", job_name
        elif record["status"] == "skipped" and code != "superseded":
            yield f"{name} had to wait, and was skipped as {code}", job_name


def _deadline(record: Json, definition: Json) -> int:
    until: int = record["scheduled_time_ms"] // 1000 + definition.get("starting_deadline_seconds", 2**40)
    return until


def _why_not_begin(known: Known, record: Json) -> str | None:
    """Why an execution may not have begun after its wait; None if it may."""
    began_ms = record["started_at_ms"]
    states = known.states(record, began_ms)
    if began_ms // 1000 > max(_deadline(record, state.fields) for state in states):
        return "after its deadline"
    late_ms = READ_MS + known.late_ms(began_ms)
    was_deleted = any(
        each.what == "delete"
        and each.job == record["job_name"]
        and each.status == 204
        and each.sent_ms > decided_ms(record)
        and each.ended() + late_ms < began_ms
        for each in known.life.journal.all(Asked)
    )
    return "although its job was deleted meanwhile" if was_deleted or states == {NO_JOB} else None


def late_turns(known: Known) -> Faults:
    """An execution that waits for the lock alone begins soon after the lock was freed."""
    for name, record in known.records.items():
        if not has_waited(record) or not has_begun(record) or "limit" in record:
            continue
        free_ms = lock_free_ms(known, record)
        if free_ms is not None:
            late_ms = record["started_at_ms"] - free_ms
            if late_ms > TURN_MS + known.late_ms(free_ms, record["started_at_ms"]):
                yield f"{name} began {late_ms} ms after its turn had come", record["job_name"]


def lock_free_ms(known: Known, record: Json) -> int | None:
    """When an execution that had to wait could have got the lock at the latest; None if nothing tells.

    If executions run without the lock, as it was not needed before, the sweep looks for their end.
    """
    since_ms = decided_ms(record)
    if "fencing_token" not in record:
        states = known.states(record, since_ms - READ_MS, record["started_at_ms"])
        return since_ms if all(state.overlap == "allow" for state in states) else None
    others = [each for each in known.records.values() if each["job_guid"] == record["job_guid"]]
    for other in others:
        is_beside = "fencing_token" not in other and has_begun(other)
        if is_beside and decided_ms(other) <= record["started_at_ms"] and _settled_ms(other) >= since_ms:
            return None
    before = [
        _settled_ms(other) for other in others if other.get("fencing_token", 2**40) < record["fencing_token"]
    ]
    return max([since_ms, *before])


def _settled_ms(record: Json) -> int:
    settled: int = record["settled_at_ms"]
    return settled


def nothing_is_left(known: Known) -> Faults:
    """Once all is at rest, nothing waits, is in a queue, is counted as waiting, or holds a lock or a slot."""
    for name, record in known.records.items():
        if record["status"] == "waiting":
            yield f"{name} still waits for its {record['waits_for']}", record["job_name"]
    for key in known.queued:
        yield f"{key} is still in a queue", None
    for name, item in known.items.items():
        if "lock_execution" in item:
            yield f"{item['lock_execution']} still holds the lock", name
        if item.get("waiting_count", 0) != 0:
            yield f"{item['waiting_count']} are counted as waiting for the lock", name
        if "starting" in item.get("arrivals", {}):
            yield f"{item['arrivals']['starting']['execution_id']} was to start, and was not", name
    for name, item in known.limits.items():
        if item.get("holders") or item.get("waiting_count", 0) != 0:
            held = sorted(item.get("holders", ()))
            yield f"{name} is held by {held}, and {item.get('waiting_count', 0)} are counted as waiting", None
