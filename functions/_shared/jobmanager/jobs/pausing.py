"""Pauses and resumes a job, and settles the trigger of its schedule."""

from collections.abc import Callable
from typing import Any

from jobmanager.api.fields import bad_field, reason, refuse_unknown, time_ms
from jobmanager.core.errors import NotFound, Refused
from jobmanager.jobs import changes, store
from jobmanager.jobs.definition import Job, Pausing, is_chained
from jobmanager.jobs.timing import schedule_key, timing_of_job
from jobmanager.schedules import triggers
from jobmanager.schedules.fire_times import fires_again


def pause_job(service_name: str, job_name: str, pausing: Pausing, updated_by: str, at_ms: int) -> Job:
    """Pauses a job and settles its trigger. Safe to repeat. Raises NotFound.

    A job that was paused without end, and so had left its trigger, enters it again if it is now paused until
    a time. A trigger must exist before a job is on it, so it is put first.
    """
    put = _put_trigger_of(service_name, job_name, at_ms) if "until" in pausing else []
    return _settled(put, lambda: changes.pause(service_name, job_name, pausing, updated_by, at_ms))


def pause_failing_job(service_name: str, job_name: str, execution_id: str, at_ms: int) -> bool:
    """Pauses a job after the failure of an execution, if it still is to be, and settles its trigger.

    Returns whether it is paused for its failures. Safe to repeat. False if the job was deleted meanwhile.
    """
    try:
        job = _settled([], lambda: changes.pause_failing(service_name, job_name, execution_id, at_ms))
    except NotFound:
        return False
    return "paused" in job and job["paused"].get("code") == "failures_in_a_row"


def resume_job(service_name: str, job_name: str, updated_by: str, at_ms: int) -> Job:
    """Resumes a job. Puts its trigger before and settles it after. Safe to repeat. Raises NotFound."""
    put = _put_trigger_of(service_name, job_name, at_ms)
    return _settled(put, lambda: changes.resume(service_name, job_name, updated_by, at_ms))


def _put_trigger_of(service_name: str, job_name: str, at_ms: int) -> list[str]:
    """Puts the trigger of the job, if the job may enter it; returns the schedules that it put."""
    job = store.read(service_name, job_name)
    if not job["enabled"] or is_chained(job) or not fires_again(timing_of_job(job), at_ms):
        return []
    schedule = schedule_key(job)
    triggers.put(schedule)
    return [schedule]


def _settled(put: list[str], change: Callable[[], Job]) -> Job:
    """Makes the change, and settles the triggers of all schedules that the job is on, has left, or may enter.

    The job may have moved to another schedule, or have been deleted, since its trigger was put.
    """
    try:
        job = change()
    except Refused:
        triggers.settle_all(put)
        raise
    own = [] if is_chained(job) else [schedule_key(job)]
    triggers.settle_all(dict.fromkeys([*own, *put, *job["left_schedules"]]))
    return job


def pausing_of(body: Any, at_ms: int) -> Pausing:
    """Reads the requested pause from the body of a request; raises BadRequest."""
    refuse_unknown(body, ("reason", "until"))
    pausing = Pausing(reason=reason(body.get("reason")))
    if body.get("until") is not None:
        pausing["until"] = time_ms("until", body["until"])
        if pausing["until"] <= at_ms:
            raise bad_field("until", "expected a time in the future")
    return pausing
