"""Checks the body of a PUT, and brings it into canonical form. Writes nothing, so it is safe to repeat."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.jobs.validation import validate
from jobmanager.runtime.step import answers_refusals, step


@step
@answers_refusals
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """``{service_name, job_name, job, updated_by}``; see :func:`validate`."""
    return validate(event)
