"""Writes a job that has been validated. Repeatable: the same definition again changes nothing."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.preconditions import passed_on
from jobmanager.core.clock import now_ms
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import job_view
from jobmanager.runtime.step import answers_refusals, step


def save(change: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """Writes it, and tells the subscribers of the events topic.

    Answers ``job`` as the API shows it, whether it was ``created``, and ``schedules`` to be settled.
    """
    job, created = jobs.save(
        change["service_name"],
        change["job_name"],
        change["job"],
        change["updated_by"],
        at_ms,
        passed_on(change),
        change.get("managed_by"),
    )
    return {
        "job": job_view(job),
        "created": created,
        "schedules": [
            *([job["active_schedule"]] if "active_schedule" in job else []),
            *job["left_schedules"],
        ],
    }


@step
@answers_refusals
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """``{service_name, job_name, job, updated_by}``, as update_job has them; see :func:`save`."""
    return save(event, now_ms())
