"""What must hold of triggers, and of jobs that never fire again, whenever a stage is quiet.

A part of tests.integration.invariants. When something fires is told by tests.clock_model, not by the code
under test.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.jobs.timing import schedule_key
from jobmanager.schedules.fire_times import fires_again
from jobmanager.schedules.keys import timing_of
from tests.clock_model import Fires

if TYPE_CHECKING:
    from tests.integration.invariants import View

type Json = dict[str, Any]

_SKIPPED = "skipped"
_TIMES = 2
_DAYS_MS = 3 * 86_400_000


def wrong_schedules(stage: View, jobs: Sequence[Json], more: Iterable[str]) -> Iterator[str]:
    """A schedule is counted as often as active jobs have it, and has a trigger if and only if one does.

    One that never fires again needs none, but its jobs stay on it until they are completed.
    """
    looked_at = set(more)
    for job in jobs:
        looked_at |= set(job.get("left_schedules", ()))
        if "schedule" not in job:  # it runs after others
            continue
        looked_at.add(schedule_key(job))
        if job.get("active_schedule", schedule_key(job)) != schedule_key(job):
            yield f"{job['job_key']} has the schedule {schedule_key(job)}, and is on {job['active_schedule']}"
    rules, counts, now_ms = stage.rules(), stage.schedule_counts(), stage.now_ms()
    for schedule in sorted(looked_at):
        users = stage.users_of(schedule, jobs)
        if counts.get(schedule, 0) != users:
            yield f"{schedule} is counted {counts.get(schedule, 0)} times, and {users} active jobs have it"
        name = stage.rule_name(schedule)
        rule, made = rules.get(name), stage.scheduled(name)
        if rule is not None and made is not None:
            yield f"{schedule} has a rule, and a schedule of EventBridge Scheduler"
        if not users:
            if rule is not None or made is not None:
                yield f"no active job has {schedule}, and its {'rule' if rule else 'trigger'} {name} stands"
        elif not _fires_after(schedule, now_ms):
            continue
        elif rule is not None:
            yield from _wrong_rule(stage, schedule, name, rule)
        elif made is not None:
            yield from _wrong_trigger(stage, schedule, made, now_ms)
        else:
            yield f"{users} active jobs have {schedule}, and it has no rule or other trigger"


def _wrong_rule(stage: View, schedule: str, name: str, rule: Json) -> Iterator[str]:
    if (rule["State"], rule.get("ScheduleExpression")) != ("ENABLED", schedule):
        yield f"the rule of {schedule} is {rule['State']}, for {rule.get('ScheduleExpression')}"
    elif not stage.starts_executions(name):
        yield f"the rule of {schedule} does not start its executions"


def _wrong_trigger(stage: View, schedule: str, made: Json, now_ms: int) -> Iterator[str]:
    wanted, found = Fires.of_key(schedule), Fires.of_trigger(made)
    is_same = (found.expression, found.time_zone) == (wanted.expression, wanted.time_zone)
    if made["State"] != "ENABLED":
        yield f"the trigger of {schedule} is {made['State']}"
    if not is_same or (wanted.is_known and _next_times(found, now_ms) != _next_times(wanted, now_ms)):
        yield f"the trigger of {schedule} fires as {found}"
    if wanted.is_known and not found.is_known:
        yield f"the trigger of {schedule} has no start"
    if not wanted.is_once and wanted.end_ms is None and found.end_ms is not None:
        yield f"the trigger of {schedule} ends at {iso(found.end_ms)}"
    target = made["Target"]
    tick = {"schedule": schedule, "scheduled_time": "<aws.scheduler.scheduled-time>"}
    if not stage.is_start_function(target["Arn"]) or json.loads(target["Input"]) != tick:
        yield f"the trigger of {schedule} does not start its executions"


def _next_times(fires: Fires, now_ms: int) -> list[int] | None:
    """The next times within days; None if they are not known."""
    if not (fires.is_known and fires.is_modelled):
        return None
    return list(islice(fires.between(now_ms, now_ms + _DAYS_MS), _TIMES))


def _fires_after(schedule: str, after_ms: int) -> bool:
    fires = Fires.of_key(schedule)
    return fires.fires_after(after_ms) if fires.is_modelled else fires_again(timing_of(schedule), after_ms)


def wrong_completions(jobs: Iterable[Json], records: Iterable[Json]) -> Iterator[str]:
    """A completed job is on no schedule, never fires again, and ran for no later time of that schedule."""
    completed_ms: dict[tuple[str, str], int] = {}
    for job in jobs:
        if "completed_at" not in job or "deleted_at" in job:
            continue
        completed_ms[job["job_guid"], schedule_key(job)] = ms_of_iso(job["completed_at"])
        if "active_schedule" in job:
            yield f"{job['job_key']} is completed, and is on {job['active_schedule']}"
        # It was updated at some moment of that second, from which a rate may be counted.
        if _fires_after(schedule_key(job), ms_of_iso(job["updated_at"]) + 999):
            yield f"{job['job_key']} was completed at {job['completed_at']}, and would fire again"
    for record in records:
        if not _ran_by_a_tick(record):
            continue
        at_ms = ms_of_iso(record["scheduled_time"])
        if at_ms > completed_ms.get((record["job_guid"], schedule_key(record)), at_ms):
            yield f"{record['execution_id']} ran for a time after its job was completed"


def wrong_times(records: Iterable[Json]) -> Iterator[str]:
    """What ran by a tick was due then, by the definition with which it ran."""
    for record in records:
        if not _ran_by_a_tick(record):
            continue
        fires, name, time = Fires.of(record), record["execution_id"], record["scheduled_time"]
        if fires.is_known and fires.is_modelled and not fires.fires_at(ms_of_iso(time)):
            yield f"{name} ran for {time}, at which {fires} does not fire"


def _ran_by_a_tick(record: Json) -> bool:
    return "started_by" not in record and "schedule" in record and record["status"] != _SKIPPED
