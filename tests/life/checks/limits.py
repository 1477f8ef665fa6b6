"""Limits: never more executions than slots, no slot idle while somebody waits, no notification too soon."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from tests.integration.turn_invariants import decided_ms
from tests.life.checks.known import PACED_MS, READ_MS, Faults, Known, has_begun, has_waited
from tests.life.checks.waiting import TURN_MS, lock_free_ms, queue_key
from tests.life.journal import Delivered, Json

_JITTER_MS = 1000
"""How much longer one notification may take than another, from its reserved time to its service."""


def full_slots(known: Known) -> Faults:
    """Never more executions of one limit are at work than it has slots.

    One surely holds a slot from when its service is notified until it ends.
    """
    for name in known.life.limits:
        held = [
            (known.deliveries[record["execution_id"]][0].sent_ms, record["finished_at_ms"], record)
            for record in _of_limit(known, name)
            if record.get("holds_slot") and known.deliveries.get(record["execution_id"])
        ]
        for at_ms, _, record in held:
            together = [each for from_ms, until_ms, each in held if from_ms <= at_ms < until_ms]
            # The last of them took its slot within this time.
            since_ms = max((decided_ms(each) for each in together), default=at_ms)
            slots = [each["slots"] for each in _definitions(known, name, since_ms, at_ms) if "slots" in each]
            if len(together) > max(slots, default=0):
                names = sorted(each["execution_id"] for each in together)
                yield f"{name} has {max(slots, default=0)} slots, and {names} ran", record["job_name"]


def slots_taken(known: Known) -> Faults:
    """An execution of a job with a limit begins with a slot, and those that wait get slots in their order."""
    for name in known.life.limits:
        records = [record for record in _of_limit(known, name) if has_begun(record)]
        for record in records:
            began_ms = record["started_at_ms"]
            until_ms = began_ms + READ_MS + known.late_ms(began_ms)
            definitions = _definitions(known, name, decided_ms(record), until_ms)
            must_hold = definitions and all("slots" in each for each in definitions)
            if must_hold and not record.get("holds_slot"):
                yield f"{record['execution_id']} began without a slot of {name}", record["job_name"]
        for record in records:
            since_ms, began_ms = decided_ms(record), record["started_at_ms"]
            waits_for_slot_alone = has_waited(record) and "fencing_token" not in record
            if not waits_for_slot_alone or not _has_only_slots(known, name, since_ms, began_ms):
                continue
            for other in records:
                got_ms = other["started_at_ms"]
                is_first = since_ms + known.apart_ms(since_ms, got_ms) < got_ms
                is_overtaken = is_first and got_ms + known.apart_ms(got_ms) < began_ms
                got_it_then = other.get("holds_slot") and _has_only_slots(
                    known, name, decided_ms(other), got_ms
                )
                if is_overtaken and got_it_then and queue_key(record) < queue_key(other):
                    names = other["execution_id"], record["execution_id"]
                    yield f"{names[0]} got a slot, and {names[1]} waited for it before", other["job_name"]


def idle_slots(known: Known) -> Faults:
    """No slot is free for long while an execution waits for it."""
    for name in known.life.limits:
        for record in _of_limit(known, name):
            # Under a rate, one gets its slot before it begins.
            began_ms = record["started_at_ms"]
            is_sure = _has_only_slots(known, name, 0, began_ms) and has_waited(record) and has_begun(record)
            free_ms = lock_free_ms(known, record) if is_sure else None
            if free_ms is None:
                continue
            slots = min(each["slots"] for each in _definitions(known, name, free_ms, began_ms))
            idle_ms = _longest_idle_ms(known, name, record, free_ms, slots)
            if idle_ms > TURN_MS + known.late_ms(free_ms, began_ms):
                yield f"{record['execution_id']} waited {idle_ms} ms for a free slot", record["job_name"]


def _longest_idle_ms(known: Known, name: str, record: Json, from_ms: int, slots: int) -> int:
    """For how long fewer executions than there are slots may have held one, before this one began."""
    until_ms = record["started_at_ms"]
    changes = []
    for other in _of_limit(known, name):
        if other is not record and other.get("holds_slot"):
            changes += [(other["started_at_ms"], 1), (other["settled_at_ms"], -1)]
    held, longest_ms, since_ms = 0, 0, from_ms
    for changed_ms, change in [*sorted(changes), (until_ms, 0)]:
        at_ms = min(max(changed_ms, from_ms), until_ms)
        if held < slots:
            longest_ms = max(longest_ms, at_ms - since_ms)
        was_free, held = held < slots, held + change
        if not (was_free and held < slots):
            since_ms = at_ms
    return longest_ms


def paced_notifications(known: Known) -> Faults:
    """The webhooks of one limit are spaced as its ``per_second`` says.

    None waits for its time longer than PACED_MS. So a crowd that needs more may come at once in the end.
    """
    for name in known.life.limits:
        came = sorted(
            (
                each
                for record in _of_limit(known, name)
                for each in known.deliveries.get(record["execution_id"], [])
                if each.channel == "http"
            ),
            key=lambda each: each.sent_ms,
        )
        yield from _too_close(known, name, came)


def _too_close(known: Known, name: str, came: list[Delivered]) -> Faults:
    for first, earlier in enumerate(came):
        for place, later in enumerate(came[first + 1 :], 1):
            took_ms = later.sent_ms - earlier.sent_ms
            definitions = _definitions(known, name, earlier.sent_ms - PACED_MS, later.sent_ms)
            rates = [each.get("per_second") for each in definitions]
            if took_ms > PACED_MS or None in rates or not rates:
                break
            interval_ms = ceil(1000 / max(filter(None, rates)))
            crowd = sum(later.sent_ms - PACED_MS <= each.sent_ms <= later.sent_ms for each in came)
            slack_ms = _JITTER_MS + known.late_ms(earlier.sent_ms, later.sent_ms)
            if place * interval_ms > took_ms + slack_ms and crowd * interval_ms < PACED_MS // 2:
                what = f"{place + 1} services under {name} were notified within {took_ms} ms"
                yield f"{what}, {interval_ms} ms apart was right", later.job
                break


def _of_limit(known: Known, name: str) -> Iterator[Json]:
    """The executions of all jobs that ran, or waited, under a limit."""
    return (record for record in known.records.values() if record.get("limit") == name)


def _definitions(known: Known, name: str, from_ms: int, until_ms: int) -> list[Json]:
    return known.life.limits[name].timeline.possible(from_ms, until_ms)


def _has_only_slots(known: Known, name: str, from_ms: int, until_ms: int) -> bool:
    """Whether a limit surely had slots and no rate within that time, and a moment longer."""
    definitions = _definitions(known, name, from_ms, until_ms + READ_MS)
    return all("slots" in each and "per_second" not in each for each in definitions)
