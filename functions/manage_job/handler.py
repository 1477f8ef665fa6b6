"""Puts or deletes a job that is defined as code, by the rules of the API. Terraform invokes it.

Both actions are safe to repeat.
"""

import contextlib
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import bad_field
from jobmanager.api.http import problem_document
from jobmanager.core.clock import now_ms
from jobmanager.core.errors import Conflict, NotFound, Refused
from jobmanager.jobs.deletion import delete_job
from jobmanager.jobs.places import place_of_stage
from jobmanager.jobs.update import update_job
from jobmanager.runtime.step import step


def put(change: dict[str, Any]) -> dict[str, Any]:
    """Returns ``{created, warnings}``; adopts a job of the API. Raises what a PUT of the API raises."""
    names = ("service_name", "job_name", "job", "updated_by", "managed_by")
    result = update_job({name: change[name] for name in names})
    return {"created": result["created"], "warnings": result.get("warnings", [])}


def delete(change: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """Deletes the job if it is managed by ``managed_by``; else does nothing."""
    with contextlib.suppress(NotFound, Conflict):
        delete_job(
            change["service_name"],
            change["job_name"],
            change["updated_by"],
            at_ms,
            managed_by=change["managed_by"],
        )
    return {}


def manage(change: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """Takes ``{action, service_name, job_name, updated_by, managed_by}``, and ``job`` for a put."""
    place_of_stage(change["managed_by"])
    match change["action"]:
        case "put":
            return put(change)
        case "delete":
            return delete(change, at_ms)
    raise bad_field("action", "expected one of put, delete")


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns what :func:`manage` returns, or ``{"problem": …}`` with the problem document of the API."""
    try:
        return manage(event, now_ms())
    except Refused as refusal:
        return {"problem": problem_document(refusal)}
