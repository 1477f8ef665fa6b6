"""Begins an execution: takes the lock if the job is exclusive, and inserts the execution's record.

Safe to repeat: see jobmanager.beginning.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from jobmanager import executions
from jobmanager.beginning import begin
from jobmanager.clock import now_ms
from jobmanager.logs import logger
from jobmanager.steps import step
from jobmanager.subscribers import publish_event

# What a skipped execution passes on where Step Functions wants limits: it waits for nothing.
_NO_WAIT = {"ttl_seconds": 60, "heartbeat_seconds": 60, "max_duration_seconds": 120}


def for_the_state_machine(record: executions.Execution) -> dict[str, Any]:
    """Ids and numbers only: Step Functions' history keeps what passes through it."""
    passed = (
        "service_name",
        "job_name",
        "job_guid",
        "execution_id",
        "scheduled_time",
        "status",
        "fencing_token",
    )
    limits = (
        {
            "ttl_seconds": record["ttl_seconds"],
            "heartbeat_seconds": record.get("heartbeat_interval_seconds", record["ttl_seconds"]),
            "max_duration_seconds": record["max_duration_seconds"],
        }
        if record["status"] == executions.RUNNING
        else _NO_WAIT
    )
    return {name: record[name] for name in passed if name in record} | limits


def _tell_subscribers(record: executions.Execution, at_ms: int) -> None:
    """That an execution started is news, but no reason to stop it."""
    try:
        publish_event(record, at_ms)
    except (ClientError, BotoCoreError) as error:
        logger.error("the start was not published", extra={"error": str(error)})


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Input as :func:`begin` has it; answers what :func:`for_the_state_machine` lets through."""
    at_ms = now_ms()
    record = begin(event, at_ms)
    if record["status"] == executions.RUNNING:
        _tell_subscribers(record, at_ms)
    return for_the_state_machine(record)
