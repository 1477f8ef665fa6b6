"""Times as people write and read them. The API has UTC; people have a time zone."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"([0-9]{1,6})([smhdw])")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
EXPECTED = (
    "Expected a span such as 30m, 2h or 7d, or today, yesterday or tomorrow, or a day such as 2026-11-23,"
    " or a time such as 2026-11-23T03:00 or 2026-11-23T02:00:00Z"
)

Direction = Literal["past", "future"]


def parse_time(text: str, direction: Direction, now: datetime, zone: tzinfo | None = None) -> datetime:
    """The time that a text means, in UTC.

    A span such as ``2h`` counts from ``now``, back or forth. A day is its midnight in ``zone``, and so is a
    time without an offset. ``zone`` is by default that of this machine. Raises ValueError.
    """
    try:
        return _parsed(text.strip(), direction, now, zone).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a time. {EXPECTED}.") from error


def _parsed(text: str, direction: Direction, now: datetime, zone: tzinfo | None) -> datetime:
    if _SPAN.fullmatch(text):
        length = timedelta(seconds=parse_span(text))
        return now - length if direction == "past" else now + length
    if text == "now":
        return now
    if text in _DAYS:
        return _midnight(now.astimezone(zone).date() + timedelta(days=_DAYS[text]), zone)
    if _DAY.fullmatch(text):
        return _midnight(date.fromisoformat(text), zone)
    if "T" not in text and " " not in text:
        raise ValueError(text)
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else _in_zone(found, zone)


def parse_span(text: str) -> int:
    """The seconds of a span such as ``2h``. Raises ValueError."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a span. Expected a number and s, m, h, d or w, such as 30m or 7d.")
    return int(match[1]) * round(timedelta(**{_UNITS[match[2]]: 1}).total_seconds())


def _midnight(day: date, zone: tzinfo | None) -> datetime:
    return _in_zone(datetime.combine(day, time()), zone)


def _in_zone(local: datetime, zone: tzinfo | None) -> datetime:
    """The moment of a local time. Without a zone, Python takes that of this machine."""
    return local.replace(tzinfo=zone) if zone else local.astimezone()


def of_ms(ms: int) -> datetime:
    """A time of the API in milliseconds since 1970."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)


def of_iso(text: str) -> datetime:
    """A time of the API as text."""
    return datetime.fromisoformat(text)


def shown(moment: datetime, utc: bool) -> str:
    """A time for people, such as ``2026-11-23 03:00:00 CET``, or in UTC."""
    local = moment.astimezone(UTC if utc else None)
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}"


def span(seconds: float) -> str:
    """A length of time for people: ``0.4 s``, ``42 s``, ``3 min 5 s``, ``2 h 10 min``, ``3 d 4 h``."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    for size, unit, smaller, of_smaller in (
        (86_400, "d", "h", 3600),
        (3600, "h", "min", 60),
        (60, "min", "s", 1),
    ):
        if whole >= size:
            rest = whole % size // of_smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"
