"""Ends an execution: settles its record, frees its lock, keeps it on its job, tells the subscribers.

Unless only an attempt has ended, and another follows.

Safe to repeat: see jobmanager.executions.settle.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.outcome import error_and_cause
from jobmanager.executions.settle import finish
from jobmanager.executions.store import RUNNING, Execution
from jobmanager.runtime.step import step


def for_the_state_machine(record: Execution) -> dict[str, Any]:
    """How it ended, with error and cause where it did not end well; or what the next attempt needs."""
    if record["status"] == RUNNING:
        return machine_input(record)
    answer = {"execution_id": record["execution_id"], "status": record["status"]}
    if record["status"] in ("success", "skipped"):
        return answer
    error, cause = error_and_cause(record)
    return {**answer, "error": error, "cause": cause}


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Input as :func:`finish` has it."""
    return for_the_state_machine(finish(event, now_ms()))
