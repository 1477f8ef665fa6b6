"""Computes when a schedule fires. All times are in UTC, like those of the rules, in milliseconds since 1970.

The libraries pyawscron and aws-croniter lack ``LW``, and ``L`` as a day of the week, so this module does it
itself. A range may wrap: AWS's own example ``0/30 20-2 ? * MON-FRI *`` fires on these days in the hours from
20 to 23 and from 0 to 2. In a month without the given day (``31``, ``31W``, ``3#5``) a schedule does not
fire.
"""

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice

from jobmanager.schedules.expression import DAYS, MONTHS

_UNITS_MS = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
_FIRST_YEAR, _LAST_YEAR = 1970, 2199
_END_MS = int(datetime(_LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp()) * 1000


def is_rate(schedule: str) -> bool:
    """Whether a schedule is a rate, which counts from when its rule was put. Its fire times are unknown."""
    return schedule.startswith("rate(")


def next_fire_times(schedule: str, after_ms: int, count: int) -> list[int]:
    """Returns the next ``count`` fire times of a canonical schedule after ``after_ms``; fewer if it ends.

    A rate is counted from ``after_ms``, as if its rule were put then. EventBridge's last year is 2199.
    """
    if is_rate(schedule):
        period = _period_ms(schedule)
        last = min(count, max(0, (_END_MS - 1 - after_ms) // period))
        return [after_ms + number * period for number in range(1, last + 1)]
    return list(islice(_cron(schedule).after(after_ms), count))


def next_of_rate(schedule: str, since_ms: int, after_ms: int) -> int:
    """Returns the next fire time after ``after_ms`` of a rate that is counted from ``since_ms``."""
    period = _period_ms(schedule)
    return since_ms + (max(0, after_ms - since_ms) // period + 1) * period


@dataclass(frozen=True)
class Fired:
    """The first and the last fire time of a schedule in a range, and the number of fire times."""

    first_ms: int
    last_ms: int
    count: int


def fired_within(schedule: str, after_ms: int, until_ms: int) -> Fired | None:
    """Summarizes the fire times with ``after_ms < time <= until_ms``; None if there are none.

    A rate is counted from ``after_ms``. Whole days are counted at once, so that a range of years is cheap.
    """
    if is_rate(schedule):
        period = _period_ms(schedule)
        count = max(0, (until_ms - after_ms) // period)
        return Fired(after_ms + period, after_ms + count * period, count) if count else None
    return _cron(schedule).within(after_ms, until_ms)


def fires_between(schedule: str, from_ms: int, days: int) -> float:
    """Returns how often a canonical schedule fires in a number of days, starting with that of ``from_ms``."""
    if is_rate(schedule):
        return days * _UNITS_MS["day"] / _period_ms(schedule)
    cron = _cron(schedule)
    first = datetime.fromtimestamp(from_ms // 1000, UTC).date()
    end = first + timedelta(days=days)
    firing_days = 0
    for day in cron.days(first):
        if day >= end:
            break
        firing_days += 1
    return firing_days * len(cron.hours) * len(cron.minutes)


def _period_ms(schedule: str) -> int:
    value, unit = schedule.removeprefix("rate(").removesuffix(")").split()
    return int(value) * _UNITS_MS[unit.removesuffix("s")]


@dataclass(frozen=True)
class _Cron:
    """A parsed cron schedule: the day fields are kept as text, the others as sorted values."""

    minutes: list[int]
    hours: list[int]
    day_of_month: str
    months: list[int]
    day_of_week: str
    years: list[int]

    def after(self, after_ms: int) -> Iterator[int]:
        """Yields the fire times after ``after_ms`` in order."""
        start = datetime.fromtimestamp(after_ms // 1000, UTC)
        for day in self.days(start.date()):
            midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
            for hour in self.hours:
                for minute in self.minutes:
                    at_ms = midnight + (hour * 60 + minute) * 60_000
                    if at_ms > after_ms:
                        yield at_ms

    def within(self, after_ms: int, until_ms: int) -> Fired | None:
        """See :func:`fired_within`. Only the times of the first and the last day are compared one by one."""
        first_day, last_day = (datetime.fromtimestamp(ms // 1000, UTC).date() for ms in (after_ms, until_ms))
        of_a_day = [(hour * 60 + minute) * 60_000 for hour in self.hours for minute in self.minutes]
        first_ms, last_ms, count = None, 0, 0
        for day in self.days(first_day):
            if day > last_day:
                break
            midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
            times = of_a_day
            if day in (first_day, last_day):
                times = [ms for ms in of_a_day if after_ms < midnight + ms <= until_ms]
            if times:
                first_ms = midnight + times[0] if first_ms is None else first_ms
                last_ms = midnight + times[-1]
                count += len(times)
        return None if first_ms is None else Fired(first_ms, last_ms, count)

    def days(self, first: date) -> Iterator[date]:
        """Yields the days on which it fires, in order, starting with ``first``."""
        for year in self.years:
            for month in self.months:
                if (year, month) >= (first.year, first.month):
                    for day in self._days_of(year, month):
                        if (found := date(year, month, day)) >= first:
                            yield found

    def _days_of(self, year: int, month: int) -> list[int]:
        first_weekday, length = calendar.monthrange(year, month)
        if self.day_of_week == "?":
            return _days_of_month(self.day_of_month, first_weekday, length)
        # monthrange counts from Monday as 0, EventBridge from Sunday as 1.
        first = (first_weekday + 1) % 7 + 1
        return _days_of_week(self.day_of_week, first, length)


def _cron(schedule: str) -> _Cron:
    minutes, hours, day_of_month, months, day_of_week, years = (
        schedule.removeprefix("cron(").removesuffix(")").split()
    )
    return _Cron(
        _values(minutes, 0, 59),
        _values(hours, 0, 23),
        day_of_month,
        _values(months, 1, 12, MONTHS),
        day_of_week,
        _values(years, _FIRST_YEAR, _LAST_YEAR),
    )


def _values(text: str, low: int, high: int, names: tuple[str, ...] = ()) -> list[int]:
    """Returns the sorted values of a field; a range whose end is below its start wraps around."""
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        start, dash, end = span.partition("-")
        first = low if start == "*" else _number(start, names)
        last = _number(end, names) if dash else high if slash or start == "*" else first
        size = high - low + 1
        if last < first:
            last += size
        found |= {(value - low) % size + low for value in range(first, last + 1, int(step or 1))}
    return sorted(found)


def _number(text: str, names: tuple[str, ...]) -> int:
    return names.index(text) + 1 if text in names else int(text)


def _days_of_month(text: str, first_weekday: int, length: int) -> list[int]:
    """Returns the days of a month on which it fires. ``first_weekday``: of the month; Monday is 0."""
    if text == "L":
        return [length]
    if text == "LW":
        return [_nearest_weekday(length, first_weekday, length)]
    if text.endswith("W"):
        day = int(text.removesuffix("W"))
        return [_nearest_weekday(day, first_weekday, length)] if day <= length else []
    return [day for day in _values(text, 1, 31) if day <= length]


def _nearest_weekday(day: int, first_weekday: int, length: int) -> int:
    """Returns the nearest day of the same month that is from Monday to Friday."""
    weekday = (first_weekday + day - 1) % 7
    if weekday == calendar.SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == calendar.SUNDAY:
        return day + 1 if day < length else day - 2
    return day


def _days_of_week(text: str, first: int, length: int) -> list[int]:
    """Returns the days of a month on which it fires. ``first``: the month's first weekday; Sunday is 1."""

    def all_of(weekday: int) -> list[int]:
        return list(range(1 + (weekday - first) % 7, length + 1, 7))

    if text == "L":
        return all_of(7)
    if text.endswith("L"):
        return all_of(_number(text.removesuffix("L"), DAYS))[-1:]
    if "#" in text:
        weekday, _, nth = text.partition("#")
        return all_of(_number(weekday, DAYS))[int(nth) - 1 : int(nth)]
    return sorted(day for weekday in _values(text, 1, 7, DAYS) for day in all_of(weekday))
