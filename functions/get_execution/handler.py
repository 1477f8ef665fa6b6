"""GET …/jobs/{job_name}/executions/{execution_id}: one execution with its payload and its result."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager import executions
from jobmanager.errors import NotFound
from jobmanager.http import answer, api_handler, path_parameter
from jobmanager.names import guid_of_execution, job_guid
from jobmanager.steps import step


def get_execution(service_name: str, job_name: str, execution_id: str) -> executions.Execution:
    """The record, if it is one of this job; raises NotFound."""
    is_of_the_job = guid_of_execution(execution_id) == job_guid(service_name, job_name)
    record = executions.find(execution_id) if is_of_the_job else None
    if record is None:
        raise NotFound(
            f"{service_name}/{job_name} has no execution {execution_id}, or its retention is over."
        )
    return record


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 200 with the execution, or 404."""
    record = get_execution(
        *(path_parameter(event, name) for name in ("service_name", "job_name", "execution_id"))
    )
    return answer(200, executions.execution_view(record))
