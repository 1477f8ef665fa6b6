"""POST …/jobs/{job_name}/test: sends a test notification to the target of a job."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import refuse_unknown
from jobmanager.api.http import answer, api_handler, optional_json_body, path_parameter
from jobmanager.delivery.trial import send_test
from jobmanager.jobs import store as jobs
from jobmanager.runtime.step import step


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns 200 with the target and how it responded (``seen``); else 400, 404 or 422."""
    refuse_unknown(optional_json_body(event), ())
    service_name, job_name = (path_parameter(event, name) for name in ("service_name", "job_name"))
    job = jobs.read(service_name, job_name)
    tested = {name: job[name] for name in ("invocation_type", "invocation_target")}
    return answer(200, {**tested, "seen": send_test(service_name, job_name, job)})
