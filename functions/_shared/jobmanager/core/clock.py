"""Points in time: milliseconds since 1970 for arithmetic, ISO 8601 in UTC for people."""

import re
import time
from datetime import UTC, datetime, timedelta

_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_ms() -> int:
    """The present, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def iso(ms: int) -> str:
    """``2026-11-23T02:00:00Z``: ``ms`` in whole seconds."""
    return _in_utc(ms, "-%m-%dT%H:%M:%SZ")


def ms_of_iso(text: str) -> int:
    """The inverse of :func:`iso`; whole milliseconds of a fraction are kept. Raises ValueError."""
    if not _ISO.fullmatch(text):
        raise ValueError(f"{text!r} is not a UTC time such as 2026-11-23T02:00:00Z")
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


def stamp(ms: int) -> str:
    """``20261123T020000Z``: ``ms`` in whole seconds, fit for names, and in the order of time."""
    return _in_utc(ms, "%m%dT%H%M%SZ")


def day(ms: int) -> str:
    """``2026-11-23``."""
    return _in_utc(ms, "-%m-%d")


def _in_utc(ms: int, after_the_year: str) -> str:
    """The year with four digits, which strftime does not give it everywhere, and the rest."""
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{moment.year:04}{moment.strftime(after_the_year)}"
