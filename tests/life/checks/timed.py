"""Jobs that fire by themselves run once at each of their times, and at no other."""

from __future__ import annotations

from collections import Counter

from jobmanager.core.clock import iso, ms_of_iso
from tests.clock_model import Fires
from tests.life.checks.known import Faults, Known
from tests.life.journal import Asked
from tests.life.living import Job

_LATE_MS = 60_000
"""EventBridge Scheduler invokes within a minute, and a spread job starts up to 20 seconds later:
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html"""

_NEW_MS = 10_000
"""How long a new schedule may not fire yet."""


def timed_jobs(known: Known) -> Faults:
    """Each job in a time zone, once, with bounds or spread, runs when the model of the clocks says so."""
    for job in known.life.timed.values():
        fires, spread_seconds = Fires.of(job.body), job.body.get("spread_seconds", 0)
        of_ticks = [record for record in known.of_job(job.job) if "started_by" not in record]
        runs = Counter(r["scheduled_time_ms"] for r in of_ticks if r["status"] != "skipped")
        from_ms, until_ms = _active(known, job.job)
        late_ms = _LATE_MS + known.late_ms(until_ms - _LATE_MS, until_ms)
        for at_ms in fires.between(from_ms, until_ms - late_ms):
            if runs[at_ms] != 1:
                yield f"{job.job.name}, {fires}, ran {runs[at_ms]} times for {iso(at_ms)}", job.job.name
        for record in of_ticks:
            if not fires.fires_at(record["scheduled_time_ms"]):
                yield f"{record['execution_id']} is of no time of {fires}", job.job.name
            starts_at_ms = ms_of_iso(str(record.get("starts_at", record["scheduled_time"])))
            offset_ms = starts_at_ms - record["scheduled_time_ms"]
            if record["started_at_ms"] < starts_at_ms or not 0 <= offset_ms <= spread_seconds * 1000:
                yield f"{record['execution_id']} is spread by {offset_ms} ms", job.job.name


def _active(known: Known, job: Job) -> tuple[int, int]:
    """From when a timed job surely fired, and until when: it is put once, and paused at the end."""
    changes = [fact for fact in known.life.journal.all(Asked) if fact.job == job.name]
    from_ms = min((fact.ended() for fact in changes if fact.what == "put"), default=2**62) + _NEW_MS
    return from_ms, max((fact.sent_ms for fact in changes if fact.what == "pause"), default=0)
