"""Checks the body of a PUT, and brings it into canonical form. Changes nothing, so repeating it is free."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.errors import BadRequest
from jobmanager.core.names import name_errors
from jobmanager.core.settings import setting
from jobmanager.jobs.validation import definition, job_errors
from jobmanager.runtime.step import answers_refusals, step

_MOST_ERRORS = 50


def validate(change: dict[str, Any]) -> dict[str, Any]:
    """Answers the change with its ``job`` in canonical form, and whether to ``test_target``.

    The stage's own topic is there, so it is not looked at. Raises BadRequest.
    """
    errors = name_errors(change["service_name"], change["job_name"]) + job_errors(change["job"])
    if errors:
        detail = f"{len(errors)} of the job's fields are not as expected"
        raise BadRequest(detail, errors=errors[:_MOST_ERRORS])
    own_topic = setting("NOTIFICATIONS_TOPIC_ARN")
    job = definition(change["job"], own_topic)
    wants_test = change["job"].get("test_invocation", True)
    return {**change, "job": job, "test_target": wants_test and job["invocation_target"] != own_topic}


@step
@answers_refusals
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """``{service_name, job_name, job, updated_by}``; see :func:`validate`."""
    return validate(event)
