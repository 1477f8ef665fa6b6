"""The limit on the schedules of a stage that have rules, and suggestions of existing ones to use instead.

EventBridge Scheduler allows a million schedules for an account, so schedules that it fires are not limited.
"""

import math
from collections.abc import Iterable

from jobmanager.api.fields import bad_field
from jobmanager.core.errors import ScheduleLimitReached
from jobmanager.core.settings import number_setting
from jobmanager.schedules import counts
from jobmanager.schedules.expression import InvalidSchedule, is_rate
from jobmanager.schedules.fire_times import fires_again, fires_between, next_fire_times
from jobmanager.schedules.keys import is_plain, timing_of
from jobmanager.schedules.triggers import put, type_of

_MAX_SUGGESTIONS = 5
_DAYS = 366


def put_schedule(schedule: str, at_ms: int) -> dict[str, int]:
    """Puts the trigger of a schedule, given by its key. Raises BadRequest if AWS does not accept it.

    Returns ``rate_since_ms``, from when EventBridge counts the rate, if the trigger of a rate was in use and
    is as it was; else an empty dict. A schedule that never fires again gets no trigger.

    Raises ScheduleLimitReached with ``nearest_schedules`` if the stage or the account has no room for
    another trigger. If it is the stage's limit, the error also has ``limit``.
    """
    try:
        if not fires_again(timing_of(schedule), at_ms):
            return {}
        used = counts.find(schedule)
        if used is None and type_of(schedule) == "rule":
            check_limit(schedule)
        was_put = put(schedule)
    except InvalidSchedule as refusal:
        raise bad_field("schedule", str(refusal)) from None
    except ScheduleLimitReached as refusal:
        others = [other for other, _ in counts.in_use() if is_plain(timing_of(other))]
        refusal.extra["nearest_schedules"] = nearest(schedule, others, at_ms)
        raise
    if used is None or was_put or not is_rate(schedule) or "since_ms" not in used:
        return {}
    return {"rate_since_ms": used["since_ms"]}


def check_limit(schedule: str) -> None:
    """Raises ScheduleLimitReached if the stage has no room for a new schedule that has a rule.

    Nothing is locked: concurrent PUTs may each see room for one more, and exceed the limit by a few. A job
    that moves from a schedule that only it uses to a new one briefly needs two rules.
    """
    limit = number_setting("SCHEDULE_LIMIT")
    if counts.count_for_rules() >= limit:
        raise ScheduleLimitReached(
            f"{schedule} would be one more unique schedule than the {limit} that this stage may have: choose "
            "one that is in use, or have schedule_limit raised",
            limit=limit,
        )


def nearest(schedule: str, existing: Iterable[str], at_ms: int) -> list[str]:
    """Returns at most 5 existing schedules that are most similar to the wanted one, most similar first.

    Schedules are given by their keys. They are compared by these keys, in this order:

    1. how often they fire in a year from ``at_ms``, as a power of two: daily is nearer to twice a day than to
       weekly
    2. their next fire time; rates come last, because their fire times are unknown
    3. how often they fire, exactly
    4. their text
    """
    wanted_fires, wanted_ms = _frequency_and_next(schedule, at_ms)

    def distance(other: str) -> tuple[float, float, float, str]:
        fires, next_ms = _frequency_and_next(other, at_ms)
        apart_ms = math.inf if wanted_ms is None or next_ms is None else abs(next_ms - wanted_ms)
        return abs(round(math.log2(fires / wanted_fires))), apart_ms, abs(fires - wanted_fires), other

    return sorted(existing, key=distance)[:_MAX_SUGGESTIONS]


def _frequency_and_next(schedule: str, at_ms: int) -> tuple[float, int | None]:
    """Returns how often a schedule fires in a year, and when it fires next; None for a rate, or if never."""
    timing = timing_of(schedule)
    fires = fires_between(timing.schedule, at_ms, _DAYS)
    times = [] if is_rate(timing.schedule) else next_fire_times(timing, at_ms, 1)
    # 0.5 for one that does not fire within the year: as far from yearly as yearly is from twice a year.
    return max(fires, 0.5), times[0] if times else None
