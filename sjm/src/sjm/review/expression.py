"""In which minutes a schedule fires. A test compares it with the manager's own computation.

The manager's preview tells the next fire times of one schedule. What shares a minute, and how often a
schedule fires in a year, would take many previews, so it is computed here. All times are those of the clock
that the schedule goes by.
"""

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_AT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


@dataclass(frozen=True)
class Rate:
    """``rate(…)``: it counts from when its rule was made, which the API does not tell."""

    period: timedelta

    def fires_in(self, minute: datetime) -> bool | None:
        """Whether it fires in a minute; None if that is not known."""
        return True if self.period <= timedelta(minutes=1) else None

    def runs_in(self, first: date, days: int) -> float:
        """How often it fires in a number of days."""
        return timedelta(days=days) / self.period


@dataclass(frozen=True)
class Cron:
    """``cron(…)`` of six fields. The fields of days stay text, because they depend on the month."""

    minutes: frozenset[int]
    hours: frozenset[int]
    day_of_month: str
    months: frozenset[int]
    day_of_week: str
    years: frozenset[int]

    def fires_in(self, minute: datetime) -> bool:
        """Whether it fires in a minute, a time by its clock."""
        return minute.minute in self.minutes and minute.hour in self.hours and self.fires_on(minute.date())

    def fires_on(self, day: date) -> bool:
        """Whether it fires on a day."""
        if day.year not in self.years or day.month not in self.months:
            return False
        if self.day_of_week == "?":
            return day.day in _days_of_month(self.day_of_month, day.year, day.month)
        return _is_day_of_week(self.day_of_week, day)

    def runs_in(self, first: date, days: int) -> float:
        """How often it fires in a number of days, from the first one on."""
        last = date.max.toordinal()
        of_days = (first.toordinal() + number for number in range(days))
        firing = sum(self.fires_on(date.fromordinal(each)) for each in of_days if each <= last)
        return float(firing * len(self.hours) * len(self.minutes))


@dataclass(frozen=True)
class Once:
    """``at(…)``: one time, by the clock of its time zone."""

    moment: datetime

    def fires_in(self, minute: datetime) -> bool:
        """Whether it fires in a minute, a time by its clock."""
        return self.moment.replace(second=0) == minute.replace(tzinfo=None, second=0, microsecond=0)

    def runs_in(self, first: date, days: int) -> float:
        """How often it fires in a number of days, from the first one on: once or never."""
        return float(0 <= (self.moment.date() - first).days < days)


def parsed(schedule: str) -> Rate | Cron | Once | None:
    """The schedule, in the API's canonical form; None if it is of no form that is known here."""
    kind, _, rest = schedule.removesuffix(")").partition("(")
    parts = rest.split()
    try:
        if kind == "rate" and len(parts) == 2:
            return Rate(int(parts[0]) * _UNITS[parts[1].removesuffix("s")])
        if kind == "cron" and len(parts) == 6:
            return _cron(parts)
        if kind == "at" and _AT.fullmatch(rest):
            return Once(datetime.fromisoformat(rest))
    except (ValueError, KeyError, OverflowError):
        return None
    return None


def _cron(parts: Sequence[str]) -> Cron:
    minutes, hours, day_of_month, months, day_of_week, years = parts
    if day_of_week == "?":
        _days_of_month(day_of_month, 2024, 1)
    else:
        _is_day_of_week(day_of_week, date(2024, 1, 1))
    return Cron(
        _values(minutes, 0, 59),
        _values(hours, 0, 23),
        day_of_month,
        _values(months, 1, 12, _MONTHS),
        day_of_week,
        _values(years, 1970, 2199),
    )


def _values(text: str, low: int, high: int, names: Sequence[str] = ()) -> frozenset[int]:
    """The values of a field. A range whose end is below its start wraps around."""
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        start, dash, end = span.partition("-")
        first = low if start == "*" else _number(start, names)
        last = _number(end, names) if dash else high if slash or start == "*" else first
        size = high - low + 1
        if not (low <= first <= high and low <= last <= high):
            raise ValueError(f"{text!r} is out of {low} to {high}")
        if last < first:
            last += size
        found |= {(value - low) % size + low for value in range(first, last + 1, int(step or 1))}
    return frozenset(found)


def _number(text: str, names: Sequence[str]) -> int:
    return names.index(text) + 1 if text in names else int(text)


def _days_of_month(text: str, year: int, month: int) -> frozenset[int]:
    first_weekday, length = calendar.monthrange(year, month)
    if text == "L":
        return frozenset({length})
    if text == "LW":
        return frozenset({_nearest_weekday(length, first_weekday, length)})
    if text.endswith("W"):
        day = int(text.removesuffix("W"))
        return frozenset({_nearest_weekday(day, first_weekday, length)} if day <= length else ())
    return _values(text, 1, 31)


def _nearest_weekday(day: int, first_weekday: int, length: int) -> int:
    """The nearest day of the same month that is from Monday to Friday."""
    weekday = (first_weekday + day - 1) % 7
    if weekday == calendar.SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == calendar.SUNDAY:
        return day + 1 if day < length else day - 2
    return day


def _is_day_of_week(text: str, day: date) -> bool:
    weekday = day.isoweekday() % 7 + 1  # EventBridge counts from Sunday as 1
    if "#" in text:
        name, _, number = text.partition("#")
        return weekday == _number(name, _DAYS) and (day.day - 1) // 7 + 1 == int(number)
    if text == "L":
        return weekday == 7
    if text.endswith("L"):
        length = calendar.monthrange(day.year, day.month)[1]
        return weekday == _number(text.removesuffix("L"), _DAYS) and day.day + 7 > length
    return weekday in _values(text, 1, 7, _DAYS)
