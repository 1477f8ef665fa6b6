"""Ticks that did not come when they should have, and the jobs that are started once for them.

Missed ticks fall after the last known tick (jobmanager.schedules.counts) and before now minus the grace
period. Only the newest known tick counts: a tick that was left out between two that came is not noticed,
unless the reconciler ran between them.

Telling comes before noting that it was told. So a run that dies in between tells the same range again, and
the jobs that are caught up are not started again, as the names of their executions are the same.
"""

import json
from typing import Any

from jobmanager.aws.clients import lambdas
from jobmanager.core.clock import iso
from jobmanager.core.settings import number_setting, setting
from jobmanager.schedules import counts
from jobmanager.schedules.events import tell_missed
from jobmanager.schedules.fire_times import Fired, fired_within, is_rate

_KNOWN = ("since_ms", "last_tick_ms", "missed_until_ms")


def tell_missed_ticks(counted: dict[str, Any], was_put: bool, at_ms: int) -> dict[str, Any] | None:
    """Tells what is missed of a schedule in use, starts the jobs that want it for the latest missed time.

    ``counted``: the schedule's item in the schedules table. ``was_put``: its rule was put anew just now. A
    rate then counts from the present: no tick of the old count can still be on its way, so there is no grace,
    and the next is due a whole interval later.
    Answers ``{schedule, first_missed, last_missed, count}``, or None if nothing is missed.
    """
    schedule = counted["schedule"]
    known = [counted[name] for name in _KNOWN if name in counted]
    counts_anew = was_put and is_rate(schedule)
    grace_ms = 0 if counts_anew else number_setting("MISSED_TICK_GRACE_SECONDS") * 1000
    missed = fired_within(schedule, max(known), at_ms - grace_ms) if known else None
    told = _tell_and_catch_up(schedule, missed, at_ms) if missed else None
    if counts_anew or not known:
        counts.note_later(schedule, "since_ms", at_ms)
    elif missed:
        counts.note_later(schedule, "missed_until_ms", missed.last_ms)
    return told


def _tell_and_catch_up(schedule: str, missed: Fired, at_ms: int) -> dict[str, Any]:
    tick = {"schedule": schedule, "scheduled_time": iso(missed.last_ms), "catch_up": True}
    lambdas().invoke(
        FunctionName=setting("START_DUE_EXECUTIONS_ARN"),
        InvocationType="Event",
        Payload=json.dumps(tick).encode(),
    )
    told = {
        "schedule": schedule,
        "first_missed": iso(missed.first_ms),
        "last_missed": iso(missed.last_ms),
        "count": missed.count,
    }
    tell_missed(told, at_ms)
    return told
