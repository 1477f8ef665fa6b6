"""On which days, and at which times of a day, a cron expression fires. It knows no time zone.

The libraries pyawscron and aws-croniter lack ``LW``, and ``L`` as a day of the week, so this module does it
itself. A range may wrap: AWS's own example ``0/30 20-2 ? * MON-FRI *`` fires on these days in the hours from
20 to 23 and from 0 to 2. In a month without the given day (``31``, ``31W``, ``3#5``) a schedule does not
fire.
"""

import calendar
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import islice

from jobmanager.schedules.expression import DAYS, FIRST_YEAR, LAST_YEAR, MONTHS

_MINUTE_MS = 60_000


@dataclass(frozen=True)
class Cron:
    """A parsed cron expression: the day fields are kept as text, the others as sorted values."""

    minutes: list[int]
    hours: list[int]
    day_of_month: str
    months: list[int]
    day_of_week: str
    years: list[int]

    @cached_property
    def times_of_day(self) -> list[int]:
        """The times of each of its days, sorted, in ms since midnight by the clock."""
        return [(hour * 60 + minute) * _MINUTE_MS for hour in self.hours for minute in self.minutes]

    def days(self, first: date) -> Iterator[date]:
        """Yields the days on which it fires, in order, starting with ``first``."""
        for year in islice(self.years, bisect_left(self.years, first.year), None):
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


def parsed(expression: str) -> Cron:
    """Parses a canonical cron expression."""
    minutes, hours, day_of_month, months, day_of_week, years = (
        expression.removeprefix("cron(").removesuffix(")").split()
    )
    return Cron(
        _values(minutes, 0, 59),
        _values(hours, 0, 23),
        day_of_month,
        _values(months, 1, 12, MONTHS),
        day_of_week,
        _values(years, FIRST_YEAR, LAST_YEAR),
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
