"""Writes a job that has been validated. Repeatable: the same definition again changes nothing."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager import jobs
from jobmanager.clock import now_ms
from jobmanager.job import job_view
from jobmanager.steps import step


def save(change: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """Answers ``job`` as the API shows it, whether it was ``created``, and the ``schedules`` to settle."""
    job, created = jobs.save(
        change["service_name"], change["job_name"], change["job"], change["updated_by"], at_ms
    )
    return {
        "job": job_view(job, with_state=False),
        "created": created,
        "schedules": {"left": job.get("previous_schedule"), "entered": job.get("active_schedule")},
    }


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """``{service_name, job_name, job, updated_by}``; see :func:`save`."""
    return save(event, now_ms())
