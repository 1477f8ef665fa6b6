"""Writes a job that has been validated. Safe to repeat: the same definition again changes nothing."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.jobs.update import save_change
from jobmanager.runtime.step import returns_refusals, step


@step
@returns_refusals
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Takes ``{service_name, job_name, job, updated_by}`` from validate_job; see :func:`save_change`."""
    return save_change(event, now_ms())
