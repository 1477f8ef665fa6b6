"""Starts the jobs that run after one whose execution has ended. What settles executions invokes it."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.executions.start_children import start_children
from jobmanager.runtime.step import step


@step
def handler(event: dict[str, str], context: LambdaContext) -> dict[str, Any]:
    """Takes ``{service_name, job_name, execution_id}``; returns how many executions it started."""
    return {"started": start_children(event["service_name"], event["job_name"], event["execution_id"])}
