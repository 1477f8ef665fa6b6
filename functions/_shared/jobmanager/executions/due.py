"""Whether a job is due by a tick, or after other jobs: it may be late, and the job may have changed since."""

from jobmanager.core.clock import ms_of_iso
from jobmanager.executions.reasons import Reason
from jobmanager.executions.record import Due
from jobmanager.jobs import activity
from jobmanager.jobs.after import parents_of
from jobmanager.jobs.chains import MAX_DEPTH
from jobmanager.jobs.definition import Job, is_chained
from jobmanager.jobs.timing import schedule_key
from jobmanager.schedules.ticks import fired_at


def reason_not_due(job: Job, due: Due) -> Reason | None:
    """Returns why a job is not due by a tick; None if it is.

    A job is due if it was active at the time of the tick, on a schedule that fired then, and if the schedule
    that it is on now fired then too. Nearly always both are the schedule of the tick. A job that moved
    between two schedules that both fired then runs for the tick that comes first.
    """
    if is_chained(job):
        detail = f"the job has no schedule any more: it runs after {', '.join(parents_of(job))}"
        return Reason(code="schedule_changed", detail=detail)
    at_ms = ms_of_iso(due["scheduled_time"])
    schedule = schedule_key(job)
    if not _fired(schedule, due, at_ms):
        return Reason(code="schedule_changed", detail=f"the job has moved to the schedule {schedule}")
    if any(_fired(each, due, at_ms) for each in activity.schedules_at(job, at_ms)):
        return None
    detail = (
        f"at {due['scheduled_time']} the job was not active on {due['schedule']}:"
        " it was created, enabled, moved or resumed later, or was paused then"
    )
    return Reason(code="not_active_then", detail=detail)


def reason_not_after(job: Job, due: Due) -> Reason | None:
    """Returns why a job is not due after the executions of other jobs; None if it is."""
    former = [parent["job"] for parent in due["parents"] if parent["job"] not in parents_of(job)]
    if former:
        detail = f"the job does not run after {', '.join(former)} any more"
        return Reason(code="parents_changed", detail=detail)
    if due.get("chain_depth", 1) > MAX_DEPTH:
        detail = (
            f"{MAX_DEPTH} executions in a line have run before it, which is the most that a chain may have"
        )
        return Reason(code="chain_too_deep", detail=detail)
    return None


def _fired(schedule: str, due: Due, at_ms: int) -> bool:
    return schedule == due["schedule"] or fired_at(schedule, at_ms)
