"""Begins an execution, and notifies the service that its job is due."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.delivery.machines import machine_of
from jobmanager.delivery.notify import run
from jobmanager.runtime.step import step


@step
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Takes ``{execution, task_token}`` or ``{execution, machine_execution}``; see :func:`run`."""
    run(event["execution"], machine_of(event), now_ms())
