"""Pauses and resumes a job, and settles the rule of its schedule."""

from typing import Any

from jobmanager.api.fields import bad_field, reason, refuse_unknown, time_ms
from jobmanager.jobs import changes, store
from jobmanager.jobs.definition import Job, Pausing
from jobmanager.schedules.rules import put_rule, settle_rule


def pause_job(service_name: str, job_name: str, pausing: Pausing, updated_by: str, at_ms: int) -> Job:
    """Pauses a job and settles its rule. Safe to repeat. Raises NotFound.

    A job that was paused without end, and so had left its rule, enters the rule again if it is now paused
    until a time. A rule must exist before a job is on it, so it is put first.
    """
    if "until" in pausing:
        job = store.read(service_name, job_name)
        if job["enabled"]:
            put_rule(job["schedule"])
    job = changes.pause(service_name, job_name, pausing, updated_by, at_ms)
    for schedule in {job["schedule"], *job["left_schedules"]}:
        settle_rule(schedule)
    return job


def resume_job(service_name: str, job_name: str, updated_by: str, at_ms: int) -> Job:
    """Resumes a job. Puts its rule before and settles it after. Safe to repeat. Raises NotFound."""
    job = store.read(service_name, job_name)
    if job["enabled"]:
        put_rule(job["schedule"])
    job = changes.resume(service_name, job_name, updated_by, at_ms)
    settle_rule(job["schedule"])
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
