"""GET /services/{service_name}/jobs/{job_name}: one job."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, path_parameter
from jobmanager.api.preconditions import etag
from jobmanager.core.clock import now_ms
from jobmanager.jobs import store as jobs
from jobmanager.jobs.chains import linked_jobs
from jobmanager.jobs.definition import job_view
from jobmanager.jobs.next_runs import next_runs_of
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with the job and its ETag, or 404."""
    job = jobs.read(path_parameter(event, "service_name"), path_parameter(event, "job_name"))
    at_ms = now_ms()
    view = job_view(job, at_ms) | next_runs_of(job, at_ms)
    return answer(200, view | linked_jobs(job), etag(job))
