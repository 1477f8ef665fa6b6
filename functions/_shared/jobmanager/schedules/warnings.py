"""Warnings about the schedule of a job that was saved: it is valid, but may surprise the caller."""

from typing import Literal, TypedDict

from jobmanager.core.clock import iso
from jobmanager.schedules.fire_times import is_rate, next_fire_times, next_of_rate


class ScheduleWarning(TypedDict):
    """A warning: programs read ``code``, people read ``detail``."""

    code: Literal["never_fires", "shared_rate"]
    detail: str


def warnings_of(
    schedule: str, active_since_ms: int | None, rate_since_ms: int | None, at_ms: int
) -> list[ScheduleWarning]:
    """Returns the warnings about a canonical schedule; empty if it fires as its text says.

    ``active_since_ms``: since when the job is on the schedule; None if it is not active. ``rate_since_ms``:
    from when EventBridge counts the rate whose rule existed before the job was saved.
    """
    if not next_fire_times(schedule, at_ms, 1):
        return [ScheduleWarning(code="never_fires", detail=f"{schedule} never fires again")]
    if not is_rate(schedule) or active_since_ms is None or rate_since_ms is None:
        return []
    if rate_since_ms >= active_since_ms:
        return []
    detail = (
        f"{schedule} was in use before, so it is counted from about {iso(rate_since_ms)} and not from now: it"
        f" next fires at about {iso(next_of_rate(schedule, rate_since_ms, at_ms))}. To choose the times"
        " yourself, use a cron expression."
    )
    return [ScheduleWarning(code="shared_rate", detail=detail)]
