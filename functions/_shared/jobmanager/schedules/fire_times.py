"""Computes when a schedule fires. A moment is in milliseconds since 1970.

Where the clocks of its time zone change, a schedule fires as EventBridge Scheduler does:
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#daylist-savings-time

- ``cron``: a time in a gap does not fire on that day. A time that comes twice fires once, the first time.
- ``rate``: counts absolute time. A day is 24 hours.
- ``at``: the page does not say. Here it is as for ``cron``: in a gap it never fires, and a time that comes
  twice is the first of both.

``start_ms`` and ``end_ms`` are as StartDate and EndDate. Both are moments at which a schedule may fire:
"invocations might occur on, or after, the StartDate", and "might stop on, or before, the EndDate". A rate
with a start is counted from it, and fires there first: StartDate is "the first occurrence of the schedule".
https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
EventBridge Scheduler ignores both for ``at``. Here they limit every schedule.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile
from typing import Protocol

from jobmanager.schedules import cron
from jobmanager.schedules.expression import FIRST_YEAR, LAST_YEAR, is_at, is_rate
from jobmanager.schedules.local_times import (
    LocalTime,
    first_moment_ms,
    local_time_at,
    local_times_of,
    offset_of_whole_day,
)
from jobmanager.schedules.timing import Timing
from jobmanager.schedules.zones import zone_of

_UNITS_MS = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
_DAY = timedelta(days=1)
# By any clock, all times of a schedule are between these moments.
_BEGIN_MS = int(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp()) * 1000 - 2 * _UNITS_MS["day"]
_END_MS = int(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp()) * 1000
_LATEST_MS = _END_MS + 2 * _UNITS_MS["day"]


class _Calendar(Protocol):
    """Days, and the times of each of them in ms since midnight by the clock."""

    @property
    def times_of_day(self) -> list[int]: ...

    def days(self, first: date) -> Iterator[date]: ...


@dataclass(frozen=True)
class _Once:
    """The calendar of an ``at``: one time of one day."""

    moment: datetime

    @property
    def times_of_day(self) -> list[int]:
        midnight = datetime.combine(self.moment, datetime.min.time())
        return [(self.moment - midnight) // timedelta(milliseconds=1)]

    def days(self, first: date) -> Iterator[date]:
        if self.moment.date() >= first:
            yield self.moment.date()


def next_fire_times(timing: Timing, after_ms: int, count: int) -> list[int]:
    """Returns the next ``count`` fire times after ``after_ms``; fewer if it ends. The last year is 2199.

    A rate without a start is counted from ``after_ms``, as if its trigger were put then.
    """
    firing = (found.utc_ms for found in _times(timing, after_ms) if not found.is_skipped)
    return list(islice(firing, count))


def next_local_times(timing: Timing, after_ms: int, count: int) -> list[LocalTime]:
    """Like :func:`next_fire_times`, by the clock of the time zone, with the skipped times among them.

    They are in the order of the clock. ``count`` is of all, so that a schedule whose times are all skipped
    does not fill a list without end.
    """
    return list(islice(_times(timing, after_ms), count))


def fires_again(timing: Timing, after_ms: int) -> bool:
    """Whether it fires after ``after_ms``. For a rate without a start, give the moment of its last tick."""
    return bool(next_fire_times(timing, after_ms, 1))


def next_of_rate(schedule: str, since_ms: int, after_ms: int) -> int:
    """Returns the next fire time after ``after_ms`` of a rate that is counted from ``since_ms``."""
    period = period_ms(schedule)
    return since_ms + (max(0, after_ms - since_ms) // period + 1) * period


@dataclass(frozen=True)
class Fired:
    """The first and the last fire time of a schedule in a range, and the number of fire times."""

    first_ms: int
    last_ms: int
    count: int


def fired_within(timing: Timing, after_ms: int, until_ms: int) -> Fired | None:
    """Summarizes the fire times with ``after_ms < time <= until_ms``; None if there are none.

    A rate without a start is counted from ``after_ms``. Whole days are counted at once, so that a range of
    years is cheap.
    """
    if is_rate(timing.schedule):
        return _rate_within(timing, after_ms, timing.until(until_ms))
    return _calendar_within(timing, timing.after(after_ms), timing.until(until_ms))


def fire_times_within(timing: Timing, after_ms: int, from_ms: int, until_ms: int) -> list[int]:
    """Returns the fire times after ``after_ms`` that are between ``from_ms`` and ``until_ms``, both included.

    A rate without a start is counted from ``after_ms``.
    """
    if is_rate(timing.schedule) and timing.start_ms is None:
        first_ms = next_of_rate(timing.schedule, after_ms, max(after_ms, from_ms - 1))
        return list(range(first_ms, timing.until(until_ms) + 1, period_ms(timing.schedule)))
    firing = (found.utc_ms for found in _times(timing, max(after_ms, from_ms - 1)) if not found.is_skipped)
    return list(takewhile(lambda ms: ms <= until_ms, firing))


def fires_between(schedule: str, from_ms: int, days: int) -> float:
    """Returns how often a canonical schedule fires in a number of days, starting with that of ``from_ms``.

    These are days by the clock of its time zone, whichever that is. Skipped times count.
    """
    if is_rate(schedule):
        return days * _UNITS_MS["day"] / period_ms(schedule)
    calendar = _calendar(schedule)
    first = datetime.fromtimestamp(from_ms // 1000, UTC).date()
    end = first + timedelta(days=days)
    firing_days = 0
    for day in calendar.days(first):
        if day >= end:
            break
        firing_days += 1
    return firing_days * len(calendar.times_of_day)


def _times(timing: Timing, after_ms: int) -> Iterator[LocalTime]:
    """Yields the times after ``after_ms`` in the order of the clock, the skipped ones among them."""
    zone = zone_of(timing.time_zone)
    if is_rate(timing.schedule):
        for at_ms in _times_of_rate(timing, after_ms):
            yield local_time_at(at_ms, zone)
        return
    after_ms = max(timing.after(after_ms), _BEGIN_MS)
    until_ms = timing.until(_LATEST_MS)
    calendar, latest_day = _calendar(timing.schedule), _latest_day(until_ms)
    for day in calendar.days(_earliest_day(after_ms)):
        if day > latest_day:
            return
        for found in local_times_of(day, calendar.times_of_day, zone, after_ms):
            if found.utc_ms <= until_ms:
                yield found


def _times_of_rate(timing: Timing, after_ms: int) -> Iterator[int]:
    period, until_ms = period_ms(timing.schedule), timing.until(_END_MS - 1)
    at_ms = _first_of_rate(timing, after_ms)
    while at_ms <= until_ms:
        yield at_ms
        at_ms += period


def _first_of_rate(timing: Timing, after_ms: int) -> int:
    if timing.start_ms is None:
        return after_ms + period_ms(timing.schedule)
    if after_ms < timing.start_ms:
        return timing.start_ms
    return next_of_rate(timing.schedule, timing.start_ms, after_ms)


def _rate_within(timing: Timing, after_ms: int, until_ms: int) -> Fired | None:
    first_ms = _first_of_rate(timing, after_ms)
    if first_ms > until_ms:
        return None
    period = period_ms(timing.schedule)
    count = (until_ms - first_ms) // period + 1
    return Fired(first_ms, first_ms + (count - 1) * period, count)


def _calendar_within(timing: Timing, after_ms: int, until_ms: int) -> Fired | None:
    after_ms, until_ms = max(after_ms, _BEGIN_MS), min(until_ms, _LATEST_MS)
    zone, calendar, latest_day = zone_of(timing.time_zone), _calendar(timing.schedule), _latest_day(until_ms)
    times_of_day = calendar.times_of_day
    first_ms, last_ms, count = None, 0, 0
    for day in calendar.days(_earliest_day(after_ms)):
        if day > latest_day:
            break
        offset_ms = offset_of_whole_day(day, zone)
        if offset_ms is None:
            day_ms, times = 0, [f.utc_ms for f in local_times_of(day, times_of_day, zone) if not f.is_skipped]
        else:
            day_ms, times = first_moment_ms(day, offset_ms), times_of_day
        low, high = (bisect_right(times, ms - day_ms) for ms in (after_ms, until_ms))
        if low < high:
            first_ms = day_ms + times[low] if first_ms is None else first_ms
            last_ms = day_ms + times[high - 1]
            count += high - low
    return None if first_ms is None else Fired(first_ms, last_ms, count)


def _earliest_day(after_ms: int) -> date:
    """The first day that may have a time after a moment, by the clock that is the farthest behind."""
    return datetime.fromtimestamp(after_ms // 1000, UTC).date() - _DAY


def _latest_day(until_ms: int) -> date:
    """The last day that may have a time until a moment, by the clock that is the farthest ahead."""
    return datetime.fromtimestamp(until_ms // 1000, UTC).date() + _DAY


def _calendar(schedule: str) -> _Calendar:
    if is_at(schedule):
        return _Once(datetime.fromisoformat(schedule.removeprefix("at(").removesuffix(")")))
    return cron.parsed(schedule)


def period_ms(schedule: str) -> int:
    """Returns the interval of a rate in ms."""
    value, unit = schedule.removeprefix("rate(").removesuffix(")").split()
    return int(value) * _UNITS_MS[unit.removesuffix("s")]
