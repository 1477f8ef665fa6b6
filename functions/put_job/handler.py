"""PUT /services/{service_name}/jobs/{job_name}: creates or replaces a job, through the update-job machine."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, caller_arn, json_body, path_parameter, query_parameters
from jobmanager.api.preconditions import etag, expected_of
from jobmanager.core.clock import now_ms
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import job_view
from jobmanager.jobs.places import place_of_service
from jobmanager.jobs.update import update_job
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 201 if the job was created, 200 if it existed, with the job, its ETag and any ``warnings``.

    Else 400, 409, 412, 422 or 503.

    The ETag is of the version that this request has saved. If others have changed the job since, the body
    shows the result, and the ETag does not let the caller overwrite it unseen.
    """
    service_name, job_name = (path_parameter(event, name) for name in ("service_name", "job_name"))
    managed_by = query_parameters(event).get("managed_by")
    place = {} if managed_by is None else {"managed_by": place_of_service(service_name, managed_by)}
    result = update_job(
        {
            "service_name": service_name,
            "job_name": job_name,
            "job": json_body(event),
            "updated_by": caller_arn(event),
            "request_id": context.aws_request_id,
            **place,
            **expected_of(event),
        }
    )
    warnings = {"warnings": result["warnings"]} if result.get("warnings") else {}
    job = job_view(jobs.saved(service_name, job_name), now_ms())
    return answer(201 if result["created"] else 200, job | warnings, etag(result))
