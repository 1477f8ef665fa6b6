"""POST …/jobs/{job_name}/resume: lets a paused job fire again."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.http import answer, api_handler, caller_arn, path_parameter
from jobmanager.api.preconditions import etag
from jobmanager.core.clock import now_ms
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import job_view
from jobmanager.runtime.step import step
from jobmanager.schedules.rules import put_rule, settle_rule


def resume_job(service_name: str, job_name: str, updated_by: str, at_ms: int) -> jobs.Job:
    """Puts the rule before the job relies on it, and settles it afterwards; repeatable. Raises NotFound."""
    job = jobs.read(service_name, job_name)
    if job["enabled"]:
        put_rule(job["schedule"])
    job = jobs.resume(service_name, job_name, updated_by, at_ms)
    settle_rule(job["schedule"])
    return job


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 200 with the job and its ETag, or 404."""
    service_name, job_name = (path_parameter(event, name) for name in ("service_name", "job_name"))
    job = resume_job(service_name, job_name, caller_arn(event), now_ms())
    return answer(200, job_view(job), etag(job))
