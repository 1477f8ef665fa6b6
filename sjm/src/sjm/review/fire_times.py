"""The next fire times of a schedule. Marks what is easily overlooked: gaps, and that it never fires."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

COUNT = 10
_GAP_FACTOR = 1.5
_DAYS_NAMED = 7


@dataclass(frozen=True)
class FireTime:
    """One fire time, by the clock of its time zone, with its offset.

    ``gap`` is the time since the one before, if it is much longer than others.
    """

    at: datetime
    gap: timedelta | None = None

    def days_without(self) -> list[str]:
        """The days of the week between the fire time before the gap and this one, if it is a few days."""
        if self.gap is None:
            return []
        before = (self.at - self.gap).date()
        days = (self.at.date() - before).days - 1
        if not 0 < days <= _DAYS_NAMED:
            return []
        return [f"{before + timedelta(days=number):%a}" for number in range(1, days + 1)]


@dataclass(frozen=True)
class FireTimes:
    """When a schedule fires next, by the clock of its time zone.

    ``is_counted_from_now``: it is a rate, whose phase only its trigger knows. ``skipped``: times between the
    others at which it does not fire, because the clocks go forward over them.
    """

    schedule: str
    times: tuple[FireTime, ...]
    is_counted_from_now: bool = False
    is_complete: bool = False
    time_zone: str = "UTC"
    skipped: tuple[datetime, ...] = ()

    @property
    def never_fires(self) -> bool:
        """Whether the schedule never fires again."""
        return not self.times and self.is_complete

    def document(self) -> list[dict[str, Any]]:
        """The fire times for programs."""
        return [
            {"at": iso(each.at)}
            | ({} if self.time_zone == "UTC" else {"local": each.at.isoformat()})
            | ({} if each.gap is None else {"gap_seconds": int(each.gap.total_seconds())})
            for each in self.times
        ]


def fire_times(preview: Mapping[str, Any], asked: int = COUNT) -> FireTimes:
    """Reads the answer of ``GET /schedules/preview`` that was asked for this many times.

    A gap is longer than one and a half times the shortest interval: so a schedule of working days has one
    over each weekend, and a monthly one has none.
    """
    time_zone = preview.get("time_zone", "UTC")
    # A stage of an earlier version tells only the times in UTC.
    listed = preview.get("times") or [
        {"local": each, "utc": each, "skipped": False} for each in preview["fire_times"]
    ]
    return FireTimes(
        schedule=preview["schedule"],
        times=tuple(_with_gaps([_local(each) for each in listed if not each["skipped"]])),
        is_counted_from_now="counted_from" in preview,
        is_complete=len(listed) < asked,
        time_zone=time_zone,
        skipped=tuple(_local(each) for each in listed if each["skipped"]),
    )


def _local(time: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(time["local"])


def _with_gaps(times: Sequence[datetime]) -> list[FireTime]:
    intervals = [later - earlier for earlier, later in pairwise(times)]
    usual = min(intervals, default=timedelta())
    gaps = [None, *(each if each > usual * _GAP_FACTOR else None for each in intervals)]
    return [FireTime(at, gap) for at, gap in zip(times, gaps, strict=False)]


def in_words(duration: timedelta) -> str:
    """A duration by its two largest units, such as ``2 days 14 hours``."""
    seconds = int(duration.total_seconds())
    parts = []
    for name, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(parts[:2]) or "0 seconds"


def iso(at: datetime) -> str:
    """A time as the API writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
