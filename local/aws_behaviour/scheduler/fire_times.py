"""When a schedule fires: its expression, in its time zone, from its start to its end.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

from local.aws_behaviour.scheduler import zones
from local.aws_behaviour.scheduler.cron import Cron
from local.aws_behaviour.scheduler.expressions import At, Rate, parse


def fire_times(schedule: dict[str, Any], since: float) -> Iterator[datetime]:
    """The times at which a schedule fires that was created or updated at ``since``, in order, in UTC.

    Takes AWS's fields; dates are in seconds since 1970.

    - ``at`` fires once, and ignores start and end. A time in the past fires at once; no page says so, and
      people who tried it say so.
    - ``rate`` fires first at its start, or at once without one. A day has 24 hours, whatever clocks do. No
      page says what happens on an update; here it counts anew.
    - ``cron`` fires at its local times. One in the gap of a change of clocks does not fire. One that comes
      twice fires once, the first time.
    - Start and end are inclusive ("on, or after" and "on, or before").

    The page has the gap only for ``cron``. Here, ``at`` does not fire in it either.
    """
    zone = zones.zone(schedule.get("ScheduleExpressionTimezone") or "UTC")
    changed = datetime.fromtimestamp(since, UTC)
    expression = parse(schedule["ScheduleExpression"])
    if isinstance(expression, At):
        found = _instant(expression.local, zone)
        if found:
            yield found
        return
    start, end = (_date(schedule.get(name)) for name in ("StartDate", "EndDate"))
    first = max(start, changed) if start else changed
    times = (
        _periods(expression, start or changed, first)
        if isinstance(expression, Rate)
        else _minutes(expression, zone, first)
    )
    for time in times:
        if end and time > end:
            return
        yield time


def _periods(rate: Rate, anchor: datetime, first: datetime) -> Iterator[datetime]:
    missed = -((anchor - first) // rate.period) if anchor < first else 0
    for number in count(missed):
        try:
            yield (anchor + number * rate.period).replace(microsecond=0)
        except OverflowError:
            return


def _minutes(cron: Cron, zone: ZoneInfo, first: datetime) -> Iterator[datetime]:
    # A minute earlier, as cronsim starts after the given time.
    for local in cron.after((first.astimezone(zone) - timedelta(minutes=1)).replace(tzinfo=None)):
        found = _instant(local, zone)
        if found and found >= first:
            yield found


def _instant(local: datetime, zone: ZoneInfo) -> datetime | None:
    """The first instant at which clocks in the zone show this time; None if they skip it."""
    instant = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return instant if instant.astimezone(zone).replace(tzinfo=None) == local else None


def _date(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
