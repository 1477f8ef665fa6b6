"""When a job fires next."""

from typing import Any

from jobmanager.core.clock import iso
from jobmanager.jobs.definition import Job, is_chained, is_paused
from jobmanager.jobs.timing import timing_of_job
from jobmanager.schedules.fire_times import next_fire_times, next_local_times
from jobmanager.schedules.preview import local_time_view

_COUNT = 3


def next_runs_of(job: Job, at_ms: int) -> dict[str, Any]:
    """Returns ``{next_fire_times, next_times}``: when a job fires next after a time, as far as is known now.

    - ``next_fire_times``: the next 3 moments, in UTC; fewer if the schedule ends
    - ``next_times``: the next 3 times by the clock of its time zone, as ``{local, utc, skipped}``. A skipped
      one does not fire.

    Both are empty if the job is disabled, completed, or paused until somebody resumes it, or if it has no
    schedule, because it runs after other jobs. A pause with
    ``until`` ends in time for a tick at that very time. Both are None for a rate without a start: EventBridge
    counts it from when its trigger was put, and does not return that time.
    """
    after_ms = at_ms
    none: dict[str, Any] = {"next_fire_times": [], "next_times": []}
    if is_paused(job, at_ms):
        if "until" not in job["paused"]:
            return none
        after_ms = job["paused"]["until"] - 1
    if not job["enabled"] or "completed_at" in job or is_chained(job):
        return none
    timing = timing_of_job(job)
    if not timing.has_known_times:
        return {"next_fire_times": None, "next_times": None}
    return {
        "next_fire_times": [iso(ms) for ms in next_fire_times(timing, after_ms, _COUNT)],
        "next_times": [local_time_view(found) for found in next_local_times(timing, after_ms, _COUNT)],
    }
