"""Pauses and resumes a job, and settles the rule of its schedule."""

from collections.abc import Callable
from typing import Any

from jobmanager.api.fields import bad_field, reason, refuse_unknown, time_ms
from jobmanager.core.errors import Refused
from jobmanager.jobs import changes, store
from jobmanager.jobs.definition import Job, Pausing
from jobmanager.schedules.rules import put_rule, settle_rules


def pause_job(service_name: str, job_name: str, pausing: Pausing, updated_by: str, at_ms: int) -> Job:
    """Pauses a job and settles its rule. Safe to repeat. Raises NotFound.

    A job that was paused without end, and so had left its rule, enters the rule again if it is now paused
    until a time. A rule must exist before a job is on it, so it is put first.
    """
    put = _put_rule_of(service_name, job_name) if "until" in pausing else []
    return _settled(put, lambda: changes.pause(service_name, job_name, pausing, updated_by, at_ms))


def resume_job(service_name: str, job_name: str, updated_by: str, at_ms: int) -> Job:
    """Resumes a job. Puts its rule before and settles it after. Safe to repeat. Raises NotFound."""
    put = _put_rule_of(service_name, job_name)
    return _settled(put, lambda: changes.resume(service_name, job_name, updated_by, at_ms))


def _put_rule_of(service_name: str, job_name: str) -> list[str]:
    """Puts the rule of the job, unless the job is disabled; returns the schedules whose rules it put."""
    job = store.read(service_name, job_name)
    if not job["enabled"]:
        return []
    put_rule(job["schedule"])
    return [job["schedule"]]


def _settled(put: list[str], change: Callable[[], Job]) -> Job:
    """Makes the change, and settles the rule of every schedule that the job is on, has left, or was put for.

    The job may have moved to another schedule, or have been deleted, since its rule was put.
    """
    try:
        job = change()
    except Refused:
        settle_rules(put)
        raise
    settle_rules(dict.fromkeys([job["schedule"], *put, *job["left_schedules"]]))
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
