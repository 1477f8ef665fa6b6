"""When a run begins, and when the jobs of its plan fire: in time zones, once, from and until."""

from __future__ import annotations

from typing import Any

from jobmanager.core.clock import iso, ms_of_iso
from tests.clock_model import clock
from tests.simulation.choices import Choices

type Json = dict[str, Any]

START_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z
_CHANGES_OF_CLOCKS = {
    "Berlin's clocks go back": ms_of_iso("2026-10-25T00:58:00Z"),
    "Berlin's clocks go forward": ms_of_iso("2027-03-28T00:58:00Z"),
}
_CHANGE_LIKELIHOOD = 0.15
TICKS_LAST_MS = 240_000
"""How long triggers fire, from the beginning of a run."""

ZONES = ("Europe/Berlin", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "UTC")
_PLAIN = ("rate(1 minute)", "cron(* * * * ? *)", "cron(0/2 * * * ? *)")
_KINDS = ("plain", "plain", "plain", "same in a zone", "by the clock", "once", "bounds", "bounds")


def start_of(choices: Choices) -> int:
    """When a run begins: on an ordinary day, or two minutes before Berlin's clocks change."""
    change = choices.deviates("day", tuple(_CHANGES_OF_CLOCKS), _CHANGE_LIKELIHOOD)
    return _CHANGES_OF_CLOCKS.get(change, START_MS)


def timing_of(choices: Choices, label: str, start_ms: int, since_ms: int) -> Json:
    """The fields of a job's timing; ``since_ms``: when it is put, in ms from the beginning of the run."""
    kind, zone = choices.one_of(f"{label} timing", _KINDS), choices.one_of(f"{label} zone", ZONES)
    if kind == "same in a zone":
        return {"schedule": choices.one_of(f"{label} schedule", _PLAIN[1:]), "time_zone": zone}
    if kind == "by the clock":
        return {"schedule": _cron_at(choices, label, zone, start_ms), "time_zone": zone}
    if kind == "once":
        return once(choices, label, zone, start_ms, since_ms)
    plain = {"schedule": choices.one_of(f"{label} schedule", _PLAIN)}
    if kind == "bounds":
        return plain | {"time_zone": zone} | _bounds(choices, label, start_ms)
    return plain


def once(choices: Choices, label: str, zone: str, start_ms: int, since_ms: int) -> Json:
    """An ``at`` soon after the job is put, by the clock of a zone."""
    earliest_ms = min(since_ms + 5000, TICKS_LAST_MS)
    at_ms = start_ms + choices.between(f"{label} at", earliest_ms, TICKS_LAST_MS) // 1000 * 1000
    shown = clock(zone, at_ms).replace(tzinfo=None)
    return {"schedule": f"at({shown.isoformat(timespec='seconds')})", "time_zone": zone}


def _cron_at(choices: Choices, label: str, zone: str, start_ms: int) -> str:
    """Some minutes of the hour that the clock of a zone shows."""
    shown = clock(zone, start_ms + choices.between(f"{label} minute", 1, 3) * 60_000)
    last = min(59, shown.minute + choices.between(f"{label} minutes", 0, 3))
    return f"cron({shown.minute}-{last} {shown.hour} * * ? *)"


def _bounds(choices: Choices, label: str, start_ms: int) -> Json:
    """A start, an end, or both: ahead, or past."""
    which = choices.one_of(f"{label} bounds", (("start_at",), ("end_at",), ("start_at", "end_at")))
    first = choices.between(f"{label} from", -60, 150)
    last = first + choices.between(f"{label} until", 1, 240)
    seconds = {"start_at": first, "end_at": last}
    return {name: iso(start_ms + seconds[name] * 1000) for name in which}
