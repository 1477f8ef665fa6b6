"""When a job fires, and the key by which the API names its schedule. A test compares it with the manager."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from sjm.review.expression import Cron, Rate, parsed

UTC_NAME = "UTC"
_MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)
_KEY = re.compile(
    r"(?P<schedule>\w+\([^()]*\))"
    r"(?: (?P<time_zone>\S+)(?: from (?P<start_at>\S+))?(?: until (?P<end_at>\S+))?)?"
)


@dataclass(frozen=True)
class Timing:
    """A schedule in canonical form, its time zone, and from and until when it fires, as the API has times."""

    schedule: str
    time_zone: str = UTC_NAME
    start_at: str | None = None
    end_at: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether a rule can fire so: in UTC, repeatedly, without bounds."""
        is_once = self.schedule.startswith("at(")
        return self.time_zone == UTC_NAME and self.start_at is None and self.end_at is None and not is_once

    @property
    def key(self) -> str:
        """The ``schedule_key`` of the API. A rate has the same in all time zones, because it fires alike."""
        time_zone = UTC_NAME if self.schedule.startswith("rate(") else self.time_zone
        if Timing(self.schedule, time_zone, self.start_at, self.end_at).is_plain:
            return self.schedule
        start = f" from {self.start_at}" if self.start_at else ""
        end = f" until {self.end_at}" if self.end_at else ""
        return f"{self.schedule} {time_zone}{start}{end}"

    def fires_in(self, minute: datetime) -> bool | None:
        """Whether it fires in a minute, a time with an offset; None if that is not known."""
        known, zone = parsed(self.schedule), _zone(self.time_zone)
        start, end = _time(self.start_at), _time(self.end_at)
        if known is None or (zone is None and not isinstance(known, Rate)):
            return None
        if end is not None and minute > end:
            return False
        if isinstance(known, Rate):
            if start is not None and minute + _MINUTE <= start:
                return False
            return known.fires_in(minute) if start is None else -(minute - start) % known.period < _MINUTE
        if start is not None and minute < start and isinstance(known, Cron):
            return False
        local = minute.astimezone(zone)
        # A time that the clock shows twice fires once, the first time.
        return not local.fold and known.fires_in(local)

    def runs_in(self, first: date, days: int) -> float | None:
        """How often it fires in a number of days from the first one on; None if its form is not known."""
        known = parsed(self.schedule)
        if known is None:
            return None
        start, end = _time(self.start_at), _time(self.end_at)
        begin = first if start is None else max(first, start.date())
        after = first + timedelta(days=days)
        if end is not None:
            after = min(after, end.date() + timedelta(days=1))
        return known.runs_in(begin, max(0, (after - begin).days))


def timing_of_job(job: Mapping[str, Any]) -> Timing:
    """The timing of a job whose fields are in canonical form."""
    return Timing(
        str(job["schedule"]), job.get("time_zone") or UTC_NAME, job.get("start_at"), job.get("end_at")
    )


def timing_of_key(key: str) -> Timing:
    """The timing that a ``schedule_key`` names. What is no key is a schedule of a form that is not known."""
    found = _KEY.fullmatch(key)
    if found is None:
        return Timing(key)
    return Timing(found["schedule"], found["time_zone"] or UTC_NAME, found["start_at"], found["end_at"])


def canonical_bounds(job: Mapping[str, Any]) -> dict[str, Any]:
    """The job with ``start_at`` and ``end_at`` as the API keeps them: in UTC, in whole seconds between them.

    The API drops what is finer than milliseconds. What is no time with an offset stays as it is, because the
    API refuses it.
    """
    canonical = dict(job)
    for name in ("start_at", "end_at"):
        at = _time(job.get(name))
        if at is not None:
            kept = at.astimezone(UTC)
            if name == "start_at" and kept.microsecond >= 1000:
                kept = kept.replace(microsecond=0) + _SECOND
            canonical[name] = f"{kept:%Y-%m-%dT%H:%M:%SZ}"
    return canonical


def _time(text: object) -> datetime | None:
    """The moment of a time with an offset; None for anything else."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) and "T" in text else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def _zone(name: str) -> tzinfo | None:
    """The time zone; None if this machine does not know it. Some machines know only UTC."""
    if name == UTC_NAME:
        return UTC
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return None
