"""Warnings about the schedule of a job that was saved: it is valid, but may surprise the caller."""

from typing import Literal, TypedDict

from jobmanager.core.clock import iso
from jobmanager.schedules.fire_times import fires_again, next_of_rate
from jobmanager.schedules.keys import timing_of


class ScheduleWarning(TypedDict):
    """A warning: programs read ``code``, people read ``detail``."""

    code: Literal["never_fires", "shared_rate"]
    detail: str


def warnings_of(
    schedule: str, active_since_ms: int | None, rate_since_ms: int | None, at_ms: int
) -> list[ScheduleWarning]:
    """Returns the warnings about a schedule, given by its key; empty if it fires as its text says.

    ``active_since_ms``: since when the job is on the schedule; None if it is not active. ``rate_since_ms``:
    from when EventBridge counts the rate whose trigger existed before the job was saved. The warning about a
    shared rate is only for one without a start of its own.
    """
    timing = timing_of(schedule)
    if not fires_again(timing, at_ms):
        return [ScheduleWarning(code="never_fires", detail=f"{schedule} never fires again")]
    if timing.has_known_times:
        return []
    if active_since_ms is None or rate_since_ms is None or rate_since_ms >= active_since_ms:
        return []
    next_ms = next_of_rate(timing.schedule, rate_since_ms, at_ms)
    detail = (
        f"{schedule} was in use before, so it is counted from about {iso(rate_since_ms)} and not from now: it"
        f" next fires at about {iso(next_ms)}. To choose the times"
        " yourself, use a cron expression."
    )
    return [ScheduleWarning(code="shared_rate", detail=detail)]
