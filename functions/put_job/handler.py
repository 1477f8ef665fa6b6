"""PUT /services/{service_name}/jobs/{job_name}: creates or replaces a job, through the update-job machine."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, caller_arn, json_body, path_parameter
from jobmanager.api.preconditions import etag, expected_of
from jobmanager.jobs.update import update_job
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 201 if the job was created, 200 if it existed, with the job and its ETag.

    Else 400, 409, 412, 422 or 503.
    """
    result = update_job(
        {
            "service_name": path_parameter(event, "service_name"),
            "job_name": path_parameter(event, "job_name"),
            "job": json_body(event),
            "updated_by": caller_arn(event),
            "request_id": context.aws_request_id,
            **expected_of(event),
        }
    )
    return answer(201 if result["created"] else 200, result["job"], etag(result["job"]))
