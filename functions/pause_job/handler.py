"""POST …/jobs/{job_name}/pause: pauses a job, until a time or until it is resumed."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, caller_arn, optional_json_body, path_parameter
from jobmanager.api.preconditions import etag
from jobmanager.core.clock import now_ms
from jobmanager.jobs.definition import job_view
from jobmanager.jobs.pausing import pause_job, pausing_of
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with the job and its ETag; else 400 or 404."""
    service_name, job_name = (path_parameter(event, name) for name in ("service_name", "job_name"))
    at_ms = now_ms()
    pausing = pausing_of(optional_json_body(event), at_ms)
    job = pause_job(service_name, job_name, pausing, caller_arn(event), at_ms)
    return answer(200, job_view(job, at_ms), etag(job))
