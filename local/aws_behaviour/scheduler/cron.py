"""When a cron expression fires, by the clock on the wall.

The fields are those of https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html. The
library cronsim finds the times: it knows lists, ``L``, ``LW`` and ``#``. It does not know AWS's numbers of
weekdays (Sunday is 1), ranges that wrap around (``FRI-MON``), years, and the weekday nearest to a day
(``15W``). This module translates the first two and checks the other two.

The page is silent about some forms. Accepted are ranges that wrap around, ``LW`` and ``FRIL``. Refused are
``L-3``, and ``L``, ``W`` and ``#`` in a list.
"""

import calendar
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from cronsim import CronSim

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FIRST_YEAR, LAST_YEAR = 1970, 2199

_LONGEST = {
    month: max(calendar.monthrange(year, month)[1] for year in (2023, 2024)) for month in range(1, 13)
}


class InvalidField(ValueError):
    """A field does not have the form that AWS documents."""


@dataclass(frozen=True)
class Cron:
    """A cron expression. ``nearest_to`` is the day of the month in ``15W``."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: str
    months: frozenset[int]
    weekdays: str
    years: frozenset[int]
    nearest_to: int | None = None

    @classmethod
    def of(cls, fields: str) -> "Cron":
        """Reads the six fields between the parentheses. Raises InvalidField."""
        parts = fields.split(" ")
        if len(parts) != 6:
            raise InvalidField(f"expected 6 fields with single spaces between them, not {fields!r}")
        minutes, hours, days, months, weekdays, years = parts
        if (days == "?") == (weekdays == "?"):
            raise InvalidField("expected one of day-of-month and day-of-week to be ?, not both")
        nearest = re.fullmatch(r"([0-9]{1,2})W", days)
        return cls(
            _values(minutes, 0, 59),
            _values(hours, 0, 23),
            _days(days),
            _values(months, 1, 12, MONTHS),
            _weekdays(weekdays),
            _values(years, FIRST_YEAR, LAST_YEAR, may_wrap=False),
            int(nearest[1]) if nearest else None,
        )

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The local times after ``moment``, in order. All are without a zone."""
        if not any(self._may_fire_in(month) for month in self.months):
            return
        expression = " ".join(
            (_listed(self.minutes), _listed(self.hours), self.days, _listed(self.months), self.weekdays)
        )
        earliest = moment.year
        for year in sorted(self.years):
            if year >= earliest:
                start = max(moment, datetime(year, 1, 1) - timedelta(seconds=1))
                for found in CronSim(expression, start):
                    if found.year > year:
                        earliest = found.year
                        break
                    if self.nearest_to is None or found.day == nearest_weekday(found.date(), self.nearest_to):
                        yield found

    def _may_fire_in(self, month: int) -> bool:
        numbers = [self.nearest_to] if self.nearest_to else map(int, re.findall(r"\d+", self.days))
        return min(numbers, default=1) <= _LONGEST[month]


def nearest_weekday(within: date, day: int) -> int | None:
    """The day from Monday to Friday that is nearest to ``day``; None if the month has no such day.

    ``within`` is any date of the month. The page says only that 3W is the weekday closest to the third. The
    result stays within the month, as in Quartz, which has the same field.
    """
    last = calendar.monthrange(within.year, within.month)[1]
    if day > last:
        return None
    weekday = date(within.year, within.month, day).weekday()
    if weekday == calendar.SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == calendar.SUNDAY:
        return day + 1 if day < last else day - 2
    return day


def _values(
    text: str, low: int, high: int, names: tuple[str, ...] = (), *, may_wrap: bool = True
) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\*|\w+)(?:-(\w+))?(?:/([0-9]+))?", part, re.ASCII)
        if not match or (match[1] == "*" and match[2]):
            raise InvalidField(f"{text!r} is not a list of values, ranges and steps")
        first = low if match[1] == "*" else _value(match[1], low, high, names)
        if match[2]:
            last = _value(match[2], low, high, names)
        else:
            last = high if match[1] == "*" or match[3] else first
        step = int(match[3] or 1)
        if not 1 <= step <= high:
            raise InvalidField(f"{text!r}: expected a step from 1 to {high}")
        if last < first and not may_wrap:
            raise InvalidField(f"{text!r}: expected a range that rises")
        size = high - low + 1
        stop = last + size if last < first else last
        found |= {low + (value - low) % size for value in range(first, stop + 1, step)}
    return frozenset(found)


def _value(text: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text.upper() in names:
        return names.index(text.upper()) + low
    if re.fullmatch(r"[0-9]{1,4}", text) and low <= int(text) <= high:
        return int(text)
    raise InvalidField(f"{text!r} is not between {low} and {high}")


def _days(text: str) -> str:
    """The field day-of-month as cronsim has it."""
    if text in ("?", "*"):
        return "*"
    if text in ("L", "LW"):
        return text
    if nearest := re.fullmatch(r"([0-9]{1,2})W", text):
        day = _value(nearest[1], 1, 31, ())
        return f"{max(1, day - 2)}-{min(31, day + 2)}"  # Cron.after picks the one
    return _listed(_values(text, 1, 31))


def _weekdays(text: str) -> str:
    """The field day-of-week as cronsim has it: Sunday is 0."""
    if text in ("?", "*"):
        return "*"
    if text == "L":
        return "6"
    if last := re.fullmatch(r"(\w+)L", text, re.ASCII):
        return f"{_value(last[1], 1, 7, WEEKDAYS) - 1}L"
    if nth := re.fullmatch(r"(\w+)#([1-5])", text, re.ASCII):
        return f"{_value(nth[1], 1, 7, WEEKDAYS) - 1}#{nth[2]}"
    return _listed(value - 1 for value in _values(text, 1, 7, WEEKDAYS))


def _listed(values: Iterable[int]) -> str:
    return ",".join(map(str, sorted(values)))
