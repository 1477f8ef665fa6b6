"""Signals the waiting task of Step Functions that an execution, or an attempt, has ended."""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from jobmanager.aws.clients import step_functions
from jobmanager.executions import attempts
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.outcome import error_and_cause
from jobmanager.executions.record import RUNNING, Execution
from jobmanager.runtime.logs import logger

# After this error statemachine.asl.json continues with the next attempt, whose input is the cause.
_ATTEMPT_ENDED = "AttemptEnded"

# Error names that statemachine.asl.json retries or catches. A service that reports one of them as its own
# error must not cause another notification.
RESERVED_NAMES = re.compile(
    r"(States|Lambda|Sandbox|Runtime)\..*|AttemptEnded|AwsCallFailed|Contended|NotificationUndelivered",
    re.DOTALL,
)

type Signal = Literal["sent", "task over"]


def signal(record: Execution) -> Signal:
    """Signals how the execution, or the attempt, ended. Safe to repeat.

    Returns ``task over`` if no task waits any more, or if the next attempt has already begun.
    """
    client = step_functions()
    token = record["task_token"]
    try:
        if record["status"] == RUNNING:
            if not attempts.is_between_attempts(record):
                return "task over"
            cause = json.dumps(machine_input(record))
            client.send_task_failure(taskToken=token, error=_ATTEMPT_ENDED, cause=cause)
        elif record["status"] in ("success", "skipped"):
            client.send_task_success(taskToken=token, output=json.dumps({"status": record["status"]}))
        else:
            error, cause = error_and_cause(record, RESERVED_NAMES)
            client.send_task_failure(taskToken=token, error=error, cause=cause)
    except (client.exceptions.TaskTimedOut, client.exceptions.TaskDoesNotExist):
        logger.info("the task had already ended")
        return "task over"
    return "sent"


def wait_and_notify_again(record: Execution, machine_input: Mapping[str, Any]) -> None:
    """Makes the state machine wait until ``next_attempt_at``, and notify the service again with that input.

    The signal is that of an ended attempt, but the attempt has not ended. Raises ClientError if the signal
    fails or no task waits.
    """
    cause = json.dumps(machine_input)
    step_functions().send_task_failure(taskToken=record["task_token"], error=_ATTEMPT_ENDED, cause=cause)


def heartbeat(record: Execution) -> None:
    """Sends a heartbeat to the waiting task. Raises ClientError."""
    client = step_functions()
    try:
        client.send_task_heartbeat(taskToken=record["task_token"])
    except (client.exceptions.TaskTimedOut, client.exceptions.TaskDoesNotExist):
        # Between two deliveries of a notification no task waits. If instead the task has timed out, the next
        # heartbeat finds the execution settled.
        logger.info("no task was waiting for the heartbeat")
