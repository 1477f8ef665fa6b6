"""Pauses a job that has failed too often in a row. The functions that settle executions invoke it."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.jobs.pausing import pause_failing_job
from jobmanager.runtime.logs import logger
from jobmanager.runtime.step import step


@step
def handler(event: dict[str, str], context: LambdaContext) -> dict[str, Any]:
    """Takes ``{service_name, job_name, execution_id}``; returns whether it is paused for its failures."""
    service_name, job_name = event["service_name"], event["job_name"]
    is_paused = pause_failing_job(service_name, job_name, event["execution_id"], now_ms())
    logger.info("looked whether to pause a failing job", extra={"paused": is_paused})
    return {"paused": is_paused}
