"""DELETE /services/{service_name}/jobs/{job_name}: deletes a job; its history stays."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, caller_arn, path_parameter, query_parameters
from jobmanager.api.preconditions import expected_of
from jobmanager.core.clock import now_ms
from jobmanager.jobs.deletion import delete_job
from jobmanager.jobs.places import place_of_service
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 204, also if the job is already deleted; else 400, 404, 409 or 412."""
    service_name, job_name = (path_parameter(event, name) for name in ("service_name", "job_name"))
    managed_by = query_parameters(event).get("managed_by")
    place = None if managed_by is None else place_of_service(service_name, managed_by)
    delete_job(service_name, job_name, caller_arn(event), now_ms(), expected_of(event), place)
    return answer(204)
