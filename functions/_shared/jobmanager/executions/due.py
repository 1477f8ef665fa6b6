"""Whether a job is due by a tick: the tick may be late, and the job may have changed since."""

from jobmanager.core.clock import ms_of_iso
from jobmanager.core.names import execution_id, suffix_of_execution
from jobmanager.executions.reasons import Reason
from jobmanager.executions.record import Due, Execution
from jobmanager.jobs import activity
from jobmanager.jobs.definition import Job
from jobmanager.schedules.ticks import fired_at

MOVED = "moved"
"""The suffix of the name under which a job runs that has moved to another schedule of that time."""


def reason_not_due(job: Job, due: Due) -> Reason | None:
    """Returns why a job is not due by a tick; None if it is.

    A job is due if it was active at the time of the tick, on a schedule that fired then, and if the schedule
    that it is on now fired then too. Nearly always both are the schedule of the tick. A job that moved
    between two schedules that both fired then runs for the tick that comes first.
    """
    at_ms = ms_of_iso(due["scheduled_time"])
    if not _fired(job["schedule"], due, at_ms):
        return Reason(code="schedule_changed", detail=f"the job has moved to the schedule {job['schedule']}")
    if any(_fired(schedule, due, at_ms) for schedule in activity.schedules_at(job, at_ms)):
        return None
    detail = (
        f"at {due['scheduled_time']} the job was not active on {due['schedule']}:"
        " it was created, enabled, moved or resumed later, or was paused then"
    )
    return Reason(code="not_active_then", detail=detail)


def had_moved(record: Execution, schedule: str) -> bool:
    """Whether an execution was skipped because its job had moved to this schedule."""
    reason = record.get("reason")
    is_of_a_move = reason is not None and reason["code"] == "schedule_changed"
    return is_of_a_move and record.get("schedule") == schedule


def due_once_more(due: Due, record: Execution) -> Due | None:
    """Returns the execution that is due in place of ``record``, which :func:`had_moved`; None if none is.

    The tick of a Standard execution finds that the name is taken. An Express one finds the record instead.
    So does a Standard one if the job was of the other type before.
    """
    is_first = not suffix_of_execution(due["execution_id"])
    if not is_first or "schedule" not in due or not had_moved(record, due["schedule"]):
        return None
    name = execution_id(due["job_guid"], ms_of_iso(due["scheduled_time"]), MOVED)
    return {**due, "execution_id": name}


def _fired(schedule: str, due: Due, at_ms: int) -> bool:
    return schedule == due["schedule"] or fired_at(schedule, at_ms)
