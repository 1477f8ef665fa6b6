"""What is promised of when jobs fire: triggers fire when jobs are due, and only then.

And a job that never fires again is completed, once, and not before its last tick is over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jobmanager.core.clock import iso
from jobmanager.jobs.definition import MANAGER
from jobmanager.jobs.timing import schedule_key
from jobmanager.schedules.trigger_kind import trigger_name
from tests.clock_model import Fires
from tests.simulation.calls import DELAYS
from tests.simulation.plan import BY_HAND_ON_TRIGGERS, Action
from tests.simulation.timings import TICKS_LAST_MS

if TYPE_CHECKING:
    from tests.simulation.world import World

type Json = dict[str, Any]

SAVED_MS = 20_000
"""A job is saved up to 15 s after the time since which it says that it is active, and the index is late."""
_PUT_MS = 1000
"""A trigger is put before its job is saved, and settled after it."""
_SAVING = ("save_job ", "resume_job ")


def broken_promises(world: World, actions: tuple[Action, ...]) -> Iterator[str]:
    """A sentence for each that does not hold."""
    is_meddled_with = any(action.kind in BY_HAND_ON_TRIGGERS for action in actions)
    yield from misnamed_triggers(world)
    yield from never_completed(world)
    yield from completions(world)
    if not is_meddled_with:
        yield from wrong_ticks(world)
        if world.is_undisturbed:
            yield from missing_ticks(world)


def misnamed_triggers(world: World) -> Iterator[str]:
    """The name of each trigger is that of the schedule for which it fires."""
    rules = {name: rule.expression for name, rule in world.rules.rules.items()}
    made = {name: each.key for name, each in world.schedules.schedules.items()}
    for name, key in (*rules.items(), *made.items()):
        if trigger_name(key) != name:
            yield f"the trigger {name} fires for {key}"


def wrong_ticks(world: World) -> Iterator[str]:
    """A trigger fires for a schedule only when that is due. A deleted one may be late, a changed one too."""
    for key, at_ms in dict.fromkeys(world.ticks.due):
        fires = Fires.of_key(key)
        if fires.is_known and not fires.fires_at(at_ms):
            yield f"the trigger of {key} fired for {iso(at_ms)}, which is no time of it"


def missing_ticks(world: World) -> Iterator[str]:
    """Each time at which an active job is due, its trigger fires, if nothing disturbs the stage."""
    due = set(world.ticks.due)
    last_ms = world.start_ms + TICKS_LAST_MS
    is_saved_late = any(
        label.startswith(_SAVING) and option in DELAYS for label, option in world.choices.deviations.items()
    )
    # Until a job is saved, another change or a reconciler may remove its trigger. What it misses is told.
    first_after_ms = SAVED_MS if is_saved_late else _PUT_MS
    for job in world.view.jobs():
        since_ms = active_since_ms(job)
        if since_ms is None or not Fires.of(job).is_known:
            continue
        for at_ms in Fires.of(job).between(since_ms + first_after_ms, last_ms):
            if (schedule_key(job), at_ms) not in due:
                yield f"{job['job_key']} was due at {iso(at_ms)}, and no trigger fired"


def never_completed(world: World) -> Iterator[str]:
    """No job stays on a schedule that never fires again."""
    now_ms = world.scheduler.now_ms
    for job in world.view.jobs():
        if "active_schedule" in job and not Fires.of(job).fires_after(now_ms):
            yield f"{job['job_key']} never fires again, and is not completed"


def completions(world: World) -> Iterator[str]:
    """Each completion of a job is published, and a job is completed again only after another change."""
    told: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for event in world.topics.events:
        if "version" in event:
            told[event["job_name"]][event["version"]].add(event["event"])
    for job in world.view.jobs():
        versions = told[job["job_name"]]
        completed = [version for version, events in sorted(versions.items()) if "job.completed" in events]
        if "completed_at" in job and "deleted_at" not in job and "untold_events" not in job and not completed:
            yield f"{job['job_key']} is completed, and no job.completed was published"
        again = [version for version in completed if versions[version] == {"job.completed"}]
        for version in again:
            if versions[version - 1] == {"job.completed"}:
                yield f"{job['job_key']} was completed in version {version}, and before it, too"


def active_since_ms(job: Json) -> int | None:
    """Since when a job was active on the schedule that it has, until now or until it was completed.

    None if it is not active, and the reconciler has not completed it. The end of a pause counts as a begin.
    """
    if "deleted_at" in job:
        return None
    if "active_schedule" in job:
        return int(max(job["active_since_ms"], job.get("paused", {}).get("until", 0)))
    is_completed = "completed_at" in job and job["updated_by"] == MANAGER
    for span in job.get("active_before", []) if is_completed else []:
        if span["schedule"] == schedule_key(job) and iso(span["until_ms"]) == job["completed_at"]:
            return int(span["since_ms"])
    return None
