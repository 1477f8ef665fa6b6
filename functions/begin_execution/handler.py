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

# Of a sync job, notify_service itself waits for the answer; this is for the case that it dies. The lock
# outlasts that wait by the time that it takes to resolve the target and to record its answer.
_SYNC_HEARTBEAT_SECONDS = 150
_SYNC_TO_SETTLE_SECONDS = 15


def for_the_state_machine(record: executions.Execution) -> dict[str, Any]:
    """Ids and numbers only: Step Functions' history keeps what passes through it."""
    passed = (
        "service_name",
        "job_name",
        "job_guid",
        "execution_id",
        "scheduled_time",
        "started_at_ms",
        "status",
        "fencing_token",
    )
    return {name: record[name] for name in passed if name in record} | _limits(record)


def _limits(record: executions.Execution) -> dict[str, int]:
    """What Step Functions is to wait for; it wants the heartbeat to be the shorter."""
    if record["status"] != executions.RUNNING:
        return _NO_WAIT
    ttl, longest = record["ttl_seconds"], record["max_duration_seconds"]
    if record["async"]:
        return {
            "ttl_seconds": ttl,
            "heartbeat_seconds": record.get("heartbeat_interval_seconds", ttl),
            "max_duration_seconds": longest,
        }
    return {
        "ttl_seconds": ttl + _SYNC_TO_SETTLE_SECONDS,
        "heartbeat_seconds": _SYNC_HEARTBEAT_SECONDS,
        "max_duration_seconds": max(longest, _SYNC_HEARTBEAT_SECONDS + 1),
    }


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
