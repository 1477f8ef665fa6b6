"""Signals the waiting task of Step Functions that an execution, or an attempt, has ended.

A task that fails names what the state machine does next, and never an error that a service reported. So no
service can cause another notification by the name of its error. What the service reported is the cause, and
the machine's execution fails with that error and cause.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from jobmanager.aws.clients import step_functions
from jobmanager.core.mappings import picked
from jobmanager.executions import attempts
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.outcome import MAX_CAUSE_CHARACTERS, error_and_cause
from jobmanager.executions.record import RUNNING, Execution
from jobmanager.runtime.logs import logger

# The errors after which statemachine.asl.json goes on, each with the state that follows:
_ATTEMPT_ENDED = "AttemptEnded"  # WaitForNextAttempt; the cause is its input
_EXECUTION_ENDED = "ExecutionEnded"  # ExecutionFailed; the cause is its input
_NOT_SETTLED = "NotSettled"  # SettleExecution

type Signal = Literal["sent", "task over"]


def signal(record: Execution) -> Signal:
    """Signals how the execution, or the attempt, ended. Safe to repeat.

    An ended execution must have been settled before, because nothing follows in its state machine. Returns
    ``task over`` if no task waits any more, or if the next attempt has already begun.
    """
    token = record["task_token"]
    if record["status"] == RUNNING:
        if not attempts.is_between_attempts(record):
            return "task over"
        return _fail(token, _ATTEMPT_ENDED, json.dumps(machine_input(record)))
    if record["status"] in ("success", "skipped"):
        output = json.dumps(picked(record, ("execution_id", "status", "reason")))
        return _send(lambda: step_functions().send_task_success(taskToken=token, output=output))
    return _fail(token, _EXECUTION_ENDED, _end_of(record))


def leave(task_token: str, record: Execution) -> Signal:
    """Ends the task of a machine that does not run the execution. The output says how that was then."""
    output = json.dumps(picked(record, ("execution_id", "status")))
    return _send(lambda: step_functions().send_task_success(taskToken=task_token, output=output))


def not_settled(task_token: str, why: str) -> Signal:
    """Lets the state machine settle an ended execution, with retries."""
    return _fail(task_token, _NOT_SETTLED, why[:MAX_CAUSE_CHARACTERS])


def wait_and_notify_again(task_token: str, machine_input: Mapping[str, Any]) -> None:
    """Makes the state machine wait until ``next_attempt_at``, and notify the service again with that input.

    The signal is that of an ended attempt, but the attempt has not ended. Raises ClientError if the signal
    fails or no task waits.
    """
    cause = json.dumps(machine_input)
    step_functions().send_task_failure(taskToken=task_token, error=_ATTEMPT_ENDED, cause=cause)


def heartbeat(task_token: str) -> Signal:
    """Sends a heartbeat to the waiting task. Raises ClientError.

    Between two deliveries of a notification no task waits. If instead the task has timed out, the service's
    next heartbeat finds the execution settled.
    """
    return _send(lambda: step_functions().send_task_heartbeat(taskToken=task_token))


def _end_of(record: Execution) -> str:
    """Returns the error and the cause of an execution as JSON, which has no more room than a cause."""
    error, cause = error_and_cause(record)
    ended = {"execution_id": record["execution_id"], "status": record["status"], "error": error}
    while len(text := json.dumps({**ended, "cause": cause}, ensure_ascii=False)) > MAX_CAUSE_CHARACTERS:
        cause = cause[: len(cause) * 3 // 4]
    return text


def _fail(token: str, error: str, cause: str) -> Signal:
    return _send(lambda: step_functions().send_task_failure(taskToken=token, error=error, cause=cause))


def _send(answer: Callable[[], object]) -> Signal:
    exceptions = step_functions().exceptions
    try:
        answer()
    except (exceptions.TaskTimedOut, exceptions.TaskDoesNotExist):
        logger.info("the task had already ended")
        return "task over"
    return "sent"
