"""DELETE /services/{service_name}/jobs/{job_name}: a job fires no more; its history stays.

Safe to repeat: if the function dies between the tombstone and the rule, the next DELETE settles the rule.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager import jobs
from jobmanager.clock import now_ms
from jobmanager.http import answer, api_handler, caller_arn, path_parameter
from jobmanager.rules import settle_rule
from jobmanager.steps import step


def delete_job(service_name: str, job_name: str, updated_by: str, at_ms: int) -> None:
    """Leaves a tombstone, then removes the rule if this was the last job on it. Raises NotFound."""
    tombstone = jobs.delete(service_name, job_name, updated_by, at_ms)
    for schedule in tombstone["left_schedules"]:
        settle_rule(schedule)


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 204, also when the job is deleted already; 404 if there never was one."""
    delete_job(
        path_parameter(event, "service_name"), path_parameter(event, "job_name"), caller_arn(event), now_ms()
    )
    return answer(204)
