"""Finds ticks that EventBridge did not deliver, publishes them, and starts the jobs that catch up.

Missed ticks fall after the last known tick (jobmanager.schedules.counts) and before now minus the grace
period, or before now if the trigger was put again just now. Only the newest known tick counts. A tick that
was missed between two delivered ones is not found, unless the reconciler ran between them.

A range is published first and recorded second. A run that dies in between publishes the same range again. It
does not start the jobs again, because the names of their executions are the same.
"""

from typing import Any

from jobmanager.aws.invocations import invoke_later
from jobmanager.core.clock import iso
from jobmanager.core.settings import number_setting, setting
from jobmanager.schedules import counts
from jobmanager.schedules.events import publish_missed
from jobmanager.schedules.fire_times import Fired, fired_within
from jobmanager.schedules.keys import timing_of
from jobmanager.schedules.triggers import type_of


def publish_missed_ticks(item: dict[str, Any], was_put: bool, at_ms: int) -> dict[str, Any] | None:
    """Publishes the missed ticks of a schedule in use, and lets the jobs that catch up start for them.

    ``item``: the schedule's item in the schedules table. ``was_put``: its trigger was put again just now. No
    tick of the old trigger can still arrive, so there is no grace period: the first tick of the new one would
    hide what was missed shortly before it. The rate of a rule counts from now on, so its next tick is due a
    whole interval later. That of EventBridge Scheduler keeps its times.

    Returns ``{schedule, first_missed, last_missed, count}``, or None if no tick was missed.
    """
    schedule = item["schedule"]
    known_ms = counts.accounted_until_ms(item)
    timing = timing_of(schedule)
    was_reset = was_put and not timing.has_known_times and type_of(schedule) == "rule"
    grace_ms = 0 if was_put else number_setting("MISSED_TICK_GRACE_SECONDS") * 1000
    missed = None if known_ms is None else fired_within(timing, known_ms, at_ms - grace_ms)
    published = None
    if missed and known_ms is not None:
        published = _catch_up_and_publish(schedule, known_ms, missed, at_ms)
    if was_reset or known_ms is None:
        counts.record_if_later(schedule, "since_ms", at_ms)
    elif missed:
        counts.record_if_later(schedule, "missed_until_ms", missed.last_ms)
    return published


def _catch_up_and_publish(schedule: str, known_ms: int, missed: Fired, at_ms: int) -> dict[str, Any]:
    tick = {
        "schedule": schedule,
        "scheduled_time": iso(missed.last_ms),
        "catch_up": True,
        "missed_after_ms": known_ms,
        "found_ms": at_ms,
    }
    invoke_later(setting("START_DUE_EXECUTIONS_ARN"), tick)
    published = {
        "schedule": schedule,
        "first_missed": iso(missed.first_ms),
        "last_missed": iso(missed.last_ms),
        "count": missed.count,
    }
    publish_missed(published, at_ms)
    return published
