"""Points in time: milliseconds since 1970 for arithmetic, ISO 8601 in UTC for people."""

import re
import time
from datetime import UTC, datetime

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z")


def now_ms() -> int:
    """The present, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def iso(ms: int) -> str:
    """``2026-11-23T02:00:00Z``: ``ms`` in whole seconds."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ms_of_iso(text: str) -> int:
    """The inverse of :func:`iso`; fractions of a second are kept. Raises ValueError."""
    if not _ISO.fullmatch(text):
        raise ValueError(f"{text!r} is not a UTC time such as 2026-11-23T02:00:00Z")
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def stamp(ms: int) -> str:
    """``20261123T020000Z``: ``ms`` in whole seconds, fit for names, and in the order of time."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")


def day(ms: int) -> str:
    """``2026-11-23``."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%d")
