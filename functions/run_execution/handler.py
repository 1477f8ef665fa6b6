"""Begins an execution, and notifies the service that its job is due."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.delivery.notify import run
from jobmanager.runtime.step import step


@step
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Takes ``{execution, task_token}``; see :func:`run`."""
    run(event["execution"], event["task_token"], now_ms())
