"""POST …/jobs/{job_name}/resume: resumes a paused job."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, caller_arn, path_parameter
from jobmanager.api.preconditions import etag
from jobmanager.core.clock import now_ms
from jobmanager.jobs.definition import job_view
from jobmanager.jobs.pausing import resume_job
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with the job and its ETag, or 404."""
    service_name, job_name = (path_parameter(event, name) for name in ("service_name", "job_name"))
    at_ms = now_ms()
    job = resume_job(service_name, job_name, caller_arn(event), at_ms)
    return answer(200, job_view(job, at_ms), etag(job))
