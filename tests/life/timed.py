"""Jobs that fire by themselves in a life: in time zones, once, from and until, spread over seconds.

What they are follows from the seed and from the time at which the life begins. When each is due,
tests.clock_model knows.
"""

from __future__ import annotations

from random import Random
from typing import Any

from jobmanager.core.clock import iso
from tests.clock_model import MINUTE_MS, clock

type Json = dict[str, Any]

ZONES = ("Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Chatham", "Asia/Kolkata", "Europe/Berlin")
"""Most have an odd offset from UTC."""

KINDS = ("each minute", "by the clock", "once", "from", "until", "rate from", "spread")
_FIRST_MS = 45_000
"""How long after the begin of a life the first of them is due, at the earliest."""
_SPREAD_SECONDS = 20


def timed_jobs(seed: int, begins_ms: int, seconds: float) -> dict[str, Json]:
    """The fields of each job's timing, by the job's name. ``seconds``: how long the life lasts."""
    random = Random(f"timed {seed}")
    return {
        f"timed-{kind.replace(' ', '-')}": _timing(random, kind, begins_ms, seconds * 1000) for kind in KINDS
    }


def _timing(random: Random, kind: str, begins_ms: int, lasts_ms: float) -> Json:
    zone = random.choice(ZONES)
    minutely = {"schedule": "cron(* * * * ? *)", "time_zone": zone}
    some_ms = begins_ms + random.randint(_FIRST_MS, max(_FIRST_MS, int(lasts_ms)))
    match kind:
        case "by the clock":
            # The minutes of an hour by a clock with an odd offset are others than in UTC.
            shown = clock(zone, begins_ms + 2 * MINUTE_MS)
            last = min(59, shown.minute + random.randint(0, 5))
            return {"schedule": f"cron({shown.minute}-{last} {shown.hour} * * ? *)", "time_zone": zone}
        case "once":
            shown = clock(zone, some_ms // 1000 * 1000).replace(tzinfo=None)
            return {"schedule": f"at({shown.isoformat(timespec='seconds')})", "time_zone": zone}
        case "from":
            return minutely | {"start_at": iso(some_ms)}
        case "until":
            return minutely | {"end_at": iso(some_ms)}
        case "rate from":
            return {"schedule": "rate(1 minute)", "start_at": iso(some_ms)}
        case "spread":
            return minutely | {"spread_seconds": _SPREAD_SECONDS}
        case _:
            return minutely
