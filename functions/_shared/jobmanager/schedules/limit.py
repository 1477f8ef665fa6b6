"""How many unique schedules a stage may have, and what else one that wants a new one could take."""

import math
from collections.abc import Iterable

from jobmanager.api.fields import bad_field
from jobmanager.core.errors import ScheduleLimitReached
from jobmanager.core.settings import number_setting
from jobmanager.schedules import counts
from jobmanager.schedules.expression import InvalidSchedule
from jobmanager.schedules.fire_times import fires_between, is_rate, next_fire_times
from jobmanager.schedules.rules import put_rule

_NEAREST = 5
_DAYS = 366


def put_schedule(schedule: str, at_ms: int) -> None:
    """Puts the rule of a schedule. Raises BadRequest if EventBridge does not accept the schedule.

    Raises ScheduleLimitReached with the ``nearest_schedules`` if the stage or the account has no room for
    it; with ``limit`` too if it is the stage's limit.
    """
    try:
        check_limit(schedule)
        put_rule(schedule)
    except InvalidSchedule as refusal:
        raise bad_field("schedule", str(refusal)) from None
    except ScheduleLimitReached as refusal:
        refusal.extra["nearest_schedules"] = nearest(schedule, [used for used, _ in counts.in_use()], at_ms)
        raise


def check_limit(schedule: str) -> None:
    """Raises ScheduleLimitReached if no active job has the schedule and the stage may have no more of them.

    Nothing is locked: PUTs at the same time may each see room for one, and pass the limit by a few together.
    A job that leaves a schedule of its own for a new one needs room for both, as its two rules meet.
    """
    limit = number_setting("SCHEDULE_LIMIT")
    if counts.job_count(schedule) == 0 and counts.count() >= limit:
        raise ScheduleLimitReached(
            f"{schedule} would be one more unique schedule than the {limit} that this stage may have: choose "
            "one that is in use, or have schedule_limit raised",
            limit=limit,
        )


def nearest(schedule: str, existing: Iterable[str], at_ms: int) -> list[str]:
    """Those of the existing schedules that are most like the wanted one, the most alike first; 5 at most.

    What counts first is how often they fire in the year from ``at_ms`` on, in powers of two: daily is nearer
    to twice a day than to weekly. Of those that fire about as often, the one whose next time is nearest comes
    first; a rate, whose times nobody knows, comes after those. What ties then goes by how often, and name.
    """
    wanted_fires, wanted_ms = _place(schedule, at_ms)

    def distance(other: str) -> tuple[float, float, float, str]:
        fires, next_ms = _place(other, at_ms)
        apart_ms = math.inf if wanted_ms is None or next_ms is None else abs(next_ms - wanted_ms)
        return abs(round(math.log2(fires / wanted_fires))), apart_ms, abs(fires - wanted_fires), other

    return sorted(existing, key=distance)[:_NEAREST]


def _place(schedule: str, at_ms: int) -> tuple[float, int | None]:
    fires = fires_between(schedule, at_ms, _DAYS)
    times = [] if is_rate(schedule) else next_fire_times(schedule, at_ms, 1)
    # One that does not fire within the year is as far from yearly as yearly is from twice a year.
    return max(fires, 0.5), times[0] if times else None
