"""Begins an execution, for executions of the state machine of the version before. Safe to repeat.

An execution keeps the definition with which it started, and that definition names this function.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.executions.begin import begin_and_publish
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.record import Due
from jobmanager.runtime.step import step


@step
def handler(event: Due, context: LambdaContext) -> dict[str, Any]:
    """Takes the input of :func:`begin_and_publish`; returns the :func:`machine_input` of the record."""
    return machine_input(begin_and_publish(event, now_ms()))
