"""The text that identifies a schedule with its time zone and bounds: its key.

Tables, ticks, events and executions name a schedule by its key, so all jobs with the same key share one
trigger. The key of a plain schedule (a ``cron`` or ``rate`` in UTC without bounds) is its expression. Any
other key adds the time zone, and the bounds if there are any:

    cron(0 2 * * ? *) Europe/Berlin
    at(2026-12-24T18:00:00) UTC
    rate(2 hours) UTC from 2026-01-01T00:00:00Z until 2027-01-01T00:00:00Z
"""

import re

from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.schedules.expression import InvalidSchedule, is_at
from jobmanager.schedules.timing import Timing
from jobmanager.schedules.zones import UTC

_KEY = re.compile(
    r"(?P<schedule>(?:cron|rate|at)\([^()]*\))"
    r"(?: (?P<time_zone>[A-Za-z0-9_+/-]+)(?: from (?P<start>\S+))?(?: until (?P<end>\S+))?)?"
)


def key_of(timing: Timing) -> str:
    """Returns the key of a timing; at most 400 characters. :func:`timing_of` is the inverse."""
    if is_plain(timing):
        return timing.schedule
    start = "" if timing.start_ms is None else f" from {_text_of(timing.start_ms)}"
    end = "" if timing.end_ms is None else f" until {_text_of(timing.end_ms)}"
    return f"{timing.schedule} {timing.time_zone}{start}{end}"


def timing_of(key: str) -> Timing:
    """Returns the timing that a key names. Raises InvalidSchedule if it is no key."""
    found = _KEY.fullmatch(key)
    if not found:
        raise InvalidSchedule(f"{key!r} is not the key of a schedule")
    try:
        start_ms, end_ms = (ms_of_iso(found[name]) if found[name] else None for name in ("start", "end"))
    except ValueError as error:
        raise InvalidSchedule(f"{key!r} is not the key of a schedule: {error}") from None
    return Timing(found["schedule"], found["time_zone"] or UTC, start_ms, end_ms)


def is_plain(timing: Timing) -> bool:
    """Whether an EventBridge rule can fire so: in UTC, repeatedly, without bounds."""
    is_bounded = timing.start_ms is not None or timing.end_ms is not None
    return timing.time_zone == UTC and not is_bounded and not is_at(timing.schedule)


def _text_of(ms: int) -> str:
    """Formats a time exactly: with milliseconds only if it has any."""
    fraction = ms % 1000
    return f"{iso(ms)[:-1]}.{fraction:03}Z" if fraction else iso(ms)
