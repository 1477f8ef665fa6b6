"""Begins an execution: takes the lock if the job is exclusive, and inserts the execution's record.

Safe to repeat: see jobmanager.executions.begin.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.core.clock import now_ms
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.events import publish_event
from jobmanager.executions.machine_input import machine_input
from jobmanager.runtime.logs import logger
from jobmanager.runtime.step import step


def _tell_subscribers(record: executions.Execution, at_ms: int) -> None:
    """That an execution started is news, but no reason to stop it."""
    try:
        publish_event(record, at_ms)
    except (ClientError, BotoCoreError) as error:
        logger.error("the start was not published", extra={"error": str(error)})


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Input as :func:`begin` has it; answers what :func:`machine_input` lets through."""
    at_ms = now_ms()
    record = begin(event, at_ms)
    if record["status"] == executions.RUNNING:
        logger.info("begun")
        _tell_subscribers(record, at_ms)
    else:
        logger.info("not begun", extra={"status": record["status"], "reason": record.get("reason")})
    return machine_input(record)
