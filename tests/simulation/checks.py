"""What must hold of a simulated run beside the invariants of any stage: here everything is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id
from tests.simulation import promises
from tests.simulation.plan import Action

if TYPE_CHECKING:
    from tests.simulation.world import World

type Json = dict[str, Any]

_EVENTS = {
    "success": "execution.succeeded",
    "fail": "execution.failed",
    "timeout": "execution.timed_out",
    "skipped": "execution.skipped",
    "cancelled": "execution.cancelled",
}
_CHANGE_WHEN_ACTIVE = ("put", "delete", "pause", "pause for a while", "resume")
_INDEX_LATE_MS = 2500


def broken_checks(world: World, actions: tuple[Action, ...]) -> Iterator[str]:
    """A sentence for each thing that is wrong."""
    records = world.view.records()
    yield from world.unexpected
    yield from world.service.unsigned
    yield from _untold_ends(world, records)
    yield from _untold_changes(world)
    yield from _doubled_requests(actions, records)
    yield from _lost_ticks(world, actions, records)
    yield from promises.needless_notifications(world)
    yield from promises.wrongly_blamed(world, records)
    if not world.calls.outage:
        yield from promises.lost_locks(world, records)
    if world.is_undisturbed:
        yield from promises.late_ends(records)
        yield from promises.late_notifications(world, records)
        yield from promises.forgotten_waits(world, records)


def _untold_ends(world: World, records: list[Json]) -> Iterator[str]:
    """The end of each execution was published.

    A skip is settled when it is inserted, so its event is lost with the machine and with a dead letter, if
    it was not told before.
    """
    not_settled = _not_settled(world)
    told = {(event["event"], event.get("execution_id")) for event in world.topics.events}
    for record in records:
        event = _EVENTS.get(record["status"])
        name = record["execution_id"]
        is_lost = record["status"] == "skipped" and (world.machines.cut_short(name) or name in not_settled)
        if event and not is_lost and (event, record["execution_id"]) not in told:
            yield f"{record['execution_id']} has ended as {record['status']}, and no {event} was published"


def _not_settled(world: World) -> list[str]:
    """The executions whose failures are dead letters."""
    letters = world.lambdas.dead_letters
    return [event["execution_id"] for function, event in letters if function == "finish_execution"]


def _untold_changes(world: World) -> Iterator[str]:
    """Each change of a job was published."""
    for job in world.view.jobs():
        if "untold_events" in job:
            names = [event["event"] for event in job["untold_events"]]
            yield f"{job['job_key']} has changed, and {names} are not published"


def _doubled_requests(actions: tuple[Action, ...], records: list[Json]) -> Iterator[str]:
    """A request with an Idempotency-Key makes one execution, however often it comes."""
    made = Counter(
        (record["job_name"], "rerun" if "rerun_of" in record else "run now")
        for record in records
        if "started_by" in record
    )
    asked = Counter((action.job_name, action.kind) for action in actions)
    for (job_name, kind), number in made.items():
        if number > asked[job_name, kind]:
            yield f"{job_name} has {number} executions by {kind}, and {asked[job_name, kind]} were asked for"


def _lost_ticks(world: World, actions: tuple[Action, ...], records: list[Json]) -> Iterator[str]:
    """A tick that came, and did not end as a dead letter, leaves a record for each job that was active.

    Unless an Express machine died before it began, of which nobody knows, or its failure is a dead letter.
    """
    changed = Counter(action.job_name for action in actions if action.kind in _CHANGE_WHEN_ACTIVE)
    dead_letters = world.lambdas.dead_letters
    dead = [event["schedule"] for name, event in dead_letters if name == "start_due_executions"]
    not_settled = _not_settled(world)
    known = {(record["job_name"], record["scheduled_time"]) for record in records}
    for job in world.view.jobs():
        if changed[job["job_name"]] > 1 or "active_since_ms" not in job or job["schedule"] in dead:
            continue
        for schedule, at_ms in world.rules.came:
            is_due = schedule == job["schedule"] and at_ms > job["active_since_ms"] + _INDEX_LATE_MS
            name = execution_id(job["job_guid"], at_ms)
            is_lost = world.machines.deaths(name) > 0 or name in not_settled
            if is_due and not is_lost and (job["job_name"], iso(at_ms)) not in known:
                yield f"{job['job_key']} was due at {iso(at_ms)}, the tick came, and there is no record"
