"""When a job was active: enabled, on a schedule, and not paused.

A tick may come late: redriven, retried, or caught up. It starts only the jobs that were active at its time.
So a job stores when its present active span began (``active_since_ms``), and its earlier spans
(``active_before``). Here, ``schedule`` is the key of a schedule (jobmanager.schedules.keys).
"""

from jobmanager.jobs.definition import Job, Span, is_deleted

_MAX_SPANS = 10


def schedules_at(job: Job, at_ms: int) -> list[str]:
    """Returns the schedules on which the job was active at the time of a tick, which is in whole seconds."""
    found = [span["schedule"] for span in job.get("active_before", []) if _is_within(span, at_ms)]
    if "active_schedule" in job and _in_seconds(_since_ms(job)) <= at_ms:
        found.append(job["active_schedule"])
    return found


def wants_catch_up(job: Job, schedule: str, missed_ms: int) -> bool:
    """Whether a job catches up missed ticks, and would have run at the time of this one.

    A job with ``catch_up`` ``one`` catches up only the latest of several.
    """
    return (
        job.get("catch_up", "none") != "none"
        and job.get("active_schedule") == schedule
        and schedule in schedules_at(job, missed_ms)
    )


def spans_until(job: Job | None, now_ms: int) -> list[Span]:
    """Returns the spans in which the job was active until now, newest first; none of a deleted job."""
    if job is None or is_deleted(job):
        return []
    earlier = job.get("active_before", [])
    if "active_schedule" not in job or _since_ms(job) >= now_ms:
        return earlier
    last = Span(schedule=job["active_schedule"], since_ms=_since_ms(job), until_ms=now_ms)
    return [last, *earlier][:_MAX_SPANS]


def _since_ms(job: Job) -> int:
    """Since when an active job is active; in the future while it is paused until a time."""
    return max(job.get("active_since_ms", 0), job["paused"].get("until", 0) if "paused" in job else 0)


def _is_within(span: Span, at_ms: int) -> bool:
    return _in_seconds(span["since_ms"]) <= at_ms < span["until_ms"]


def _in_seconds(ms: int) -> int:
    return ms // 1000 * 1000
