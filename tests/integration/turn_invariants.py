"""What must hold of executions that wait, and of what they wait for, whenever a stage is quiet.

A part of tests.integration.invariants. An execution may still wait. The simulation also looks after each
write: tests.simulation.turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from jobmanager.core.clock import ms_of_iso
from jobmanager.executions.queues import queue_of_slots
from jobmanager.executions.record import RUNNING, WAITING

if TYPE_CHECKING:
    from tests.integration.invariants import Service

type Json = dict[str, Any]


def wrong_turns(service: Service) -> Iterator[str]:
    """Each execution that waits is queued and counted once, and only open executions hold slots."""
    known = {record["execution_id"]: record for record in service.records}
    waiting: dict[str, list[Json]] = {}
    for record in service.records:
        if queue := _queue_of(record):
            waiting.setdefault(queue, []).append(record)
    yield from _wrong_entries(service.queues, waiting)
    for job in service.jobs:
        count, expected = job.get("waiting_count", 0), len(waiting.get(job["job_guid"], ()))
        if count != expected:
            yield f"{expected} executions wait for the lock of {job['job_key']}, and {count} are counted"
    for limit in service.limits:
        of_limit = waiting.get(queue_of_slots(limit["service_name"], limit["limit_name"]), [])
        yield from _wrong_count(limit, of_limit)
        yield from _wrong_holders(limit, known)


def _queue_of(record: Json) -> str | None:
    if record["status"] != WAITING or record["waits_for"] == "start":
        return None
    if record["waits_for"] == "lock":
        return str(record["job_guid"])
    return queue_of_slots(record["service_name"], record["limit"])


def _wrong_entries(queues: Mapping[str, list[str]], waiting: Mapping[str, list[Json]]) -> Iterator[str]:
    for queue in sorted(queues.keys() | waiting.keys()):
        entries = sorted(queues.get(queue, ()))
        names = sorted(record["execution_id"] for record in waiting.get(queue, ()))
        if entries != names:
            yield f"{entries} are in the queue {queue}, and {names} wait in it"


def _wrong_count(limit: Json, waiting: list[Json]) -> Iterator[str]:
    """A limit does not count those that waited for one of its name that was deleted."""
    count = limit.get("waiting_count", 0)
    least = sum(_is_since(limit, record) for record in waiting)
    if not least <= count <= len(waiting):
        name = f"{limit['service_name']}/{limit['limit_name']}"
        yield f"{len(waiting)} executions wait for a slot of {name}, and {count} are counted"


def _wrong_holders(limit: Json, known: Mapping[str, Json]) -> Iterator[str]:
    """Who holds a slot is open, and who runs with one still holds it, unless the limit was made since."""
    name, holders = f"{limit['service_name']}/{limit['limit_name']}", limit.get("holders", set())
    for holder in sorted(holders):
        record = known.get(holder)
        if record is None:
            yield f"{holder} holds a slot of {name}, and there is no record of it"
        elif "settled_at_ms" in record or _queue_of(record):
            yield f"{holder} holds a slot of {name}, and is {record['status']}"
    for holder, record in known.items():
        is_of_limit = record.get("holds_slot") and record.get("limit") == limit["limit_name"]
        is_running = record["status"] == RUNNING and _is_since(limit, record)
        if is_of_limit and is_running and holder not in holders:
            yield f"{holder} runs, and has lost its slot of {name}"


def _is_since(limit: Json, record: Json) -> bool:
    """Whether an execution surely came after its limit was made, of which only the second is known."""
    return ms_of_iso(limit["created_at"]) + 999 < decided_ms(record)


def decided_ms(record: Json) -> int:
    """When it was decided whether an execution runs, waits or is skipped. One that waits starts later."""
    decided: int = record["waiting_since_ms" if "waiting_since_ms" in record else "started_at_ms"]
    return decided
