"""Ends an execution: records its outcome, frees its lock, publishes its event. Safe to repeat.

If only an attempt has ended, and another follows, it only records how the attempt ended.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.executions.settle import FinishInput, finish, machine_output
from jobmanager.runtime.step import step


@step
def handler(event: FinishInput, context: LambdaContext) -> dict[str, Any]:
    """Takes the input of :func:`finish`; returns the :func:`machine_output` of the record."""
    return machine_output(finish(event, now_ms()))
