"""What must hold of a simulated run beside the invariants of any stage: here everything is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from jobmanager.aws.large_values import sha256
from jobmanager.jobs.definition import Job, is_to_be_paused
from tests.simulation import ends, promises, start_promises, timing_promises
from tests.simulation.plan import Action, payload_of

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


def broken_checks(world: World, actions: tuple[Action, ...]) -> Iterator[str]:
    """A sentence for each thing that is wrong."""
    records = world.view.records()
    begun = [record for record in records if not _ended_before_its_turn(record)]
    yield from world.unexpected
    yield from world.service.unsigned
    yield from _untold_ends(world, records)
    yield from _untold_changes(world)
    yield from _untold_warnings(world, records)
    yield from _unpaused_jobs(world)
    yield from _doubled_requests(actions, records)
    yield from timing_promises.broken_promises(world, actions)
    yield from start_promises.broken_promises(world, records)
    yield from promises.needless_notifications(world)
    yield from promises.needless_restarts(world)
    yield from promises.wrongly_blamed(world, records)
    yield from ends.unexplained_ends(world, records)
    yield from ends.forgotten_calls(world, records)
    yield from _mixed_payloads(world, records)
    yield from _lost_values(world, records)
    if not world.calls.outage:
        yield from promises.lost_locks(world, records)
    if world.is_undisturbed:
        yield from promises.late_ends(world, begun)
        yield from promises.late_notifications(world, begun)
        yield from promises.forgotten_waits(world, begun)
        yield from promises.left_machines(world, records)


def _ended_before_its_turn(record: Json) -> bool:
    return "waiting_since_ms" in record and "lock_expires_at" not in record


def _untold_ends(world: World, records: list[Json]) -> Iterator[str]:
    """The end of each execution was published.

    A skip is settled when it is inserted, so its event is lost with the machine and with a dead letter, if
    it was not told before.
    """
    not_settled = start_promises.unknown_executions(world)
    told = {(event["event"], event.get("execution_id")) for event in world.topics.events}
    for record in records:
        event = _EVENTS.get(record["status"])
        name = record["execution_id"]
        is_lost = record["status"] == "skipped" and (world.machines.cut_short(name) or name in not_settled)
        if event and not is_lost and (event, record["execution_id"]) not in told:
            yield f"{record['execution_id']} has ended as {record['status']}, and no {event} was published"


def _untold_changes(world: World) -> Iterator[str]:
    """Each change of a job was published."""
    for job in world.view.jobs():
        if "untold_events" in job:
            names = [event["event"] for event in job["untold_events"]]
            yield f"{job['job_key']} has changed, and {names} are not published"


def _untold_warnings(world: World, records: list[Json]) -> Iterator[str]:
    """A warning that a record notes was published, and not before it was due."""
    told = {event["execution_id"] for event in world.topics.events if event["event"] == "execution.late"}
    noted = {record["execution_id"] for record in records if "warned_at_ms" in record}
    for name in noted - told:
        yield f"{name} notes a warning, and no execution.late was published"
    for record in records:
        after_ms = record.get("warned_at_ms", 0) - record["started_at_ms"]
        if record["execution_id"] in noted and after_ms < (record["warn_after_seconds"] - 1) * 1000:
            yield f"{record['execution_id']} was told of as late {after_ms} ms after its start"


def _unpaused_jobs(world: World) -> Iterator[str]:
    """A job that has failed as often as it may is paused, unless that is a dead letter."""
    letters = world.lambdas.dead_letters
    dead = [event["execution_id"] for function, event in letters if function == "pause_failing_job"]
    for job in world.view.jobs():
        last = job.get("streak", {}).get("to_pause", {}).get("execution_id")
        if last and last not in dead and is_to_be_paused(cast(Job, job), last, world.scheduler.now_ms):
            yield f"{job['job_key']} has failed too often, last in {last}, and is not paused"


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


def _mixed_payloads(world: World, records: list[Json]) -> Iterator[str]:
    """A notification has the payload of the definition that it has. A rerun has that of an earlier one."""
    reruns = {record["execution_id"] for record in records if "rerun_of" in record}
    for told in world.service.received:
        payload, ttl_seconds = told["payload"], told["ttl_seconds"]
        if payload and told["execution_id"] not in reruns and not payload.startswith(payload_of(ttl_seconds)):
            yield f"{told['execution_id']} has a ttl_seconds of {ttl_seconds} and the payload {payload[:9]}"


def _lost_values(world: World, records: list[Json]) -> Iterator[str]:
    """A large value that a record or a job names is there, and is its own."""
    values = world.view.large_values()
    for record in records:
        for name in ("payload", "state"):
            if value_hash := record.get(f"{name}_sha256"):
                key = f"large#{record['execution_id']}#{name}#{value_hash}"
                if key not in values or sha256(values[key]["large_text"]) != value_hash:
                    yield f"the {name} of {record['execution_id']} is lost"
    for job in world.view.jobs():
        if "payload_version" in job:
            item = values.get(f"{job['job_name']}#payload", {})
            if item.get("payload_version") != job["payload_version"]:
                yield f"the payload of {job['job_key']} is lost"
        last = job.get("last_successful_execution", {})
        if "state_is_apart" in last:
            kept = values.get(f"{job['job_name']}#state", {}).get("last_successful_execution", {})
            if kept.get("execution_id") != last["execution_id"] or last["execution_id"] not in kept["state"]:
                yield f"the last state of {job['job_key']} is that of {kept.get('execution_id')}"
