"""Validates the body of a PUT, and returns its canonical form. Safe to repeat: it writes nothing."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.jobs.validation import validate
from jobmanager.runtime.step import returns_refusals, step


@step
@returns_refusals
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Takes ``{service_name, job_name, job, updated_by}``; see :func:`validate`."""
    return validate(event)
