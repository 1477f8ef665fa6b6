"""When a job fires next."""

from jobmanager.core.clock import iso
from jobmanager.jobs.definition import Job, is_paused
from jobmanager.schedules.fire_times import is_rate, next_fire_times

_COUNT = 3


def next_fire_times_of(job: Job, at_ms: int) -> list[str] | None:
    """Returns when a job fires next after a time, as far as is known now: fewer times if its schedule ends.

    Empty if it is disabled, or paused until somebody resumes it. A pause with ``until`` ends in time for a
    tick at that very time. None for a rate: EventBridge counts it from when its rule was put, and does not
    return that time.
    """
    after_ms = at_ms
    if is_paused(job, at_ms):
        if "until" not in job["paused"]:
            return []
        after_ms = job["paused"]["until"] - 1
    if not job["enabled"]:
        return []
    if is_rate(job["schedule"]):
        return None
    return [iso(ms) for ms in next_fire_times(job["schedule"], after_ms, _COUNT)]
