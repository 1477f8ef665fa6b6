"""What is promised of when jobs start: spread ones at their offset, and those that catch up, oldest first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.core.names import execution_id
from jobmanager.jobs.definition import MANAGER
from jobmanager.jobs.timing import schedule_key
from tests.clock_model import Fires
from tests.simulation.sqs import NOT_TAKEN
from tests.simulation.timing_promises import SAVED_MS, active_since_ms

if TYPE_CHECKING:
    from tests.simulation.world import World

type Json = dict[str, Any]

_ROUNDED_MS = 1000
_SLACK_MS = 60_000
"""What delayed calls and messages may add."""
_MOST_STARTS = 1000
_PUT_AND_COMPLETED = 2
"""The version of a job that was put once, and then completed."""


def broken_promises(world: World, records: list[Json]) -> Iterator[str]:
    """A sentence for each that does not hold."""
    yield from lost_ticks(world, records)
    yield from early_starts(records)
    yield from not_caught_up(world, records)
    yield from wrong_order(world)
    if world.is_undisturbed:
        yield from wrong_offsets(world, records)


def dead_schedules(world: World) -> set[str]:
    """The schedules of which a tick, or a part of one, is a dead letter."""
    found = set()
    for function, event in world.lambdas.dead_letters:
        if function == "start_due_executions":
            found.add(event["schedule"])
        if function == "start_spread_executions":
            found |= {json.loads(record["body"])["schedule"] for record in event["Records"]}
    return found


def unknown_executions(world: World) -> set[str]:
    """The executions of whose failure nobody knows, as it is a dead letter."""
    letters = world.lambdas.dead_letters
    return {event["execution_id"] for function, event in letters if function == "finish_execution"}


def _scheduled(world: World) -> list[Json]:
    """The jobs that do not run after others."""
    return [job for job in world.view.jobs() if "schedule" in job]


def lost_ticks(world: World, records: list[Json]) -> Iterator[str]:
    """A tick that came, and did not end as a dead letter, leaves a record for each job that was active.

    Unless an Express machine died before it began, of which nobody knows, or its failure is a dead letter. Or
    unless the tick came so late that it counts as missed, and the job was completed meanwhile.
    """
    dead, unknown = dead_schedules(world), unknown_executions(world)
    known = {(record["job_name"], record["scheduled_time"]) for record in records}
    for job in _scheduled(world):
        key, since_ms = schedule_key(job), active_since_ms(job)
        if since_ms is None or key in dead:
            continue
        for schedule, at_ms, comes_at_ms in world.ticks.came:
            is_due = schedule == key and at_ms > since_ms + SAVED_MS
            name = execution_id(job["job_guid"], at_ms)
            is_lost = world.machines.deaths(name) > 0 or name in unknown
            is_missed = "completed_at" in job and comes_at_ms > at_ms + world.missed_grace_ms
            if is_due and not is_lost and not is_missed and (job["job_name"], iso(at_ms)) not in known:
                yield f"{job['job_key']} was due at {iso(at_ms)}, the tick came, and there is no record"


def early_starts(records: list[Json]) -> Iterator[str]:
    """No execution begins before its time, nor before its offset if its job is spread."""
    for record in records:
        if "started_by" not in record:
            due_ms = ms_of_iso(str(record.get("starts_at", record["scheduled_time"])))
            if record["started_at_ms"] < due_ms:
                yield f"{record['execution_id']} began {due_ms - record['started_at_ms']} ms too early"


def wrong_offsets(world: World, records: list[Json]) -> Iterator[str]:
    """A job that is active and spread starts at its offset after a tick, if nothing disturbs the stage."""
    came_ms: dict[tuple[str, int], int] = {}
    for schedule, at_ms, comes_at_ms in world.ticks.came:
        came_ms[schedule, at_ms] = min(comes_at_ms, came_ms.get((schedule, at_ms), comes_at_ms))
    for job in world.view.jobs():
        since_ms = _same_since_ms(job)
        if since_ms is None or not job.get("spread_seconds"):
            continue
        digest = int.from_bytes(sha256(job["job_key"].encode()).digest()[:8])
        offset_ms = digest % (job["spread_seconds"] + 1) * 1000
        spread_since_ms = max(since_ms, _spread_since_ms(world, job))
        for record in records:
            at_ms = record["scheduled_time_ms"]
            came = came_ms.get((schedule_key(job), at_ms))
            is_of_it = record["job_guid"] == job["job_guid"] and "started_by" not in record
            if not is_of_it or came is None or at_ms <= spread_since_ms + SAVED_MS:
                continue
            due_ms = max(at_ms + offset_ms, came)
            began_ms = record.get("waiting_since_ms", record["started_at_ms"])
            is_late = began_ms > due_ms + _SLACK_MS and not _had_to_wait(world, record)
            if record["started_at_ms"] < at_ms + offset_ms or is_late:
                yield f"{record['execution_id']} began {record['started_at_ms'] - due_ms} ms after its offset"


def _spread_since_ms(world: World, job: Json) -> int:
    """Since when a job has its spread, which holds from the next tick on."""
    changes = [
        ms_of_iso(event["occurred_at"]) + _ROUNDED_MS
        for event in world.topics.events
        if event.get("job_name") == job["job_name"] and "spread_seconds" in event.get("changed", [])
    ]
    return max(changes, default=0)


def _had_to_wait(world: World, record: Json) -> bool:
    """Whether its machine died, or found no room for its function, or a message came again.

    SQS lets a message that fails come again after minutes.
    """
    name, odd = record["execution_id"], world.choices.deviations.items()
    has_no_room = any(name in label and "room" in what for label, what in odd)
    return world.machines.delays(name) > 0 or has_no_room or NOT_TAKEN in dict(odd).values()


def not_caught_up(world: World, records: list[Json]) -> Iterator[str]:
    """Ticks that are published as missed leave records for each job that catches up.

    Of the last of them if it catches up ``one``, of each in its window if it catches up ``all``.
    """
    dead, unknown = dead_schedules(world), unknown_executions(world)
    known = {(record["job_name"], record["scheduled_time"]) for record in records}
    missed = [event for event in world.topics.events if event["event"] == "schedule.missed"]
    for job in _scheduled(world):
        key, since_ms = schedule_key(job), _same_since_ms(job)
        if since_ms is None or job.get("catch_up", "none") == "none" or key in dead:
            continue
        for event in missed:
            for at_ms in _to_catch_up(job, event) if event["schedule"] == key else ():
                name = execution_id(job["job_guid"], at_ms)
                is_lost = world.machines.deaths(name) > 0 or name in unknown
                is_due = at_ms > since_ms + SAVED_MS and not is_lost
                if is_due and (job["job_name"], iso(at_ms)) not in known:
                    yield f"{job['job_key']} catches up, and there is no record of {iso(at_ms)}"


def _to_catch_up(job: Json, event: Json) -> list[int]:
    first_ms, last_ms = ms_of_iso(event["first_missed"]), ms_of_iso(event["last_missed"])
    fires = Fires.of(job)
    if job["catch_up"] == "one":
        return [last_ms]
    since_ms = ms_of_iso(event["occurred_at"]) + _ROUNDED_MS - job["catch_up_window_seconds"] * 1000
    if not fires.is_known:
        return [last_ms] if last_ms > since_ms else []
    return list(fires.between(max(first_ms - 1, since_ms), last_ms))[-_MOST_STARTS:]


def wrong_order(world: World) -> Iterator[str]:
    """What is caught up starts oldest first."""
    for (job_guid, _), times in world.starts.caught_up.items():
        if any(later < earlier for earlier, later in pairwise(times)):
            yield f"{job_guid} caught up {times[:5]}, not oldest first"


def _same_since_ms(job: Json) -> int | None:
    """Since when a job is active as it is now; None if that is not known."""
    since_ms = active_since_ms(job)
    if since_ms is None or job["updated_by"] != MANAGER:
        return None if since_ms is None else max(since_ms, ms_of_iso(job["updated_at"]))
    return since_ms if job["version"] <= _PUT_AND_COMPLETED else None
