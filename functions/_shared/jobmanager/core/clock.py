"""Points in time: milliseconds since 1970 for arithmetic, ISO 8601 in UTC for people."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999 in UTC


def now_ms() -> int:
    """The current time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def clock_from(at_ms: int) -> Callable[[], int]:
    """Returns a clock that shows ``at_ms`` now, and goes on from there.

    A call to AWS may take seconds, after which the time at which a function was invoked is too old.
    """
    since = time.monotonic()
    return lambda: at_ms + int((time.monotonic() - since) * 1000)


def iso(ms: int) -> str:
    """Formats a time as ``2026-11-23T02:00:00Z``; drops fractions of a second."""
    return _in_utc(ms, "-%m-%dT%H:%M:%SZ")


def ms_of_iso(text: str) -> int:
    """Parses a time such as ``2026-11-23T02:00:00Z`` or, with an offset, ``2026-11-23T03:00:00+01:00``.

    Keeps milliseconds, drops finer fractions. Raises ValueError.
    """
    if not _ISO.fullmatch(text):
        raise ValueError(f"{text!r} is not a time: expected one such as 2026-11-23T02:00:00Z")
    ms = (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
    if not _FIRST_MS <= ms <= _LAST_MS:
        raise ValueError(f"{text!r} is not within the years 1 to 9999 in UTC")
    return ms


def stamp(ms: int) -> str:
    """Formats a time as ``20261123T020000Z``, which fits into names and sorts by time."""
    return _in_utc(ms, "%m%dT%H%M%SZ")


def ms_of_stamp(text: str) -> int:
    """Parses what begins with ``20261123T020000``."""
    return round(datetime.strptime(f"{text[:15]}+0000", "%Y%m%dT%H%M%S%z").timestamp() * 1000)


def day(ms: int) -> str:
    """Formats the day of a time as ``2026-11-23``."""
    return _in_utc(ms, "-%m-%d")


def _in_utc(ms: int, after_the_year: str) -> str:
    """Formats the year itself, because strftime does not pad it to four digits on every platform."""
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{moment.year:04}{moment.strftime(after_the_year)}"
