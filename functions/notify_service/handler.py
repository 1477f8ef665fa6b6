"""Notifies the service, for executions of the state machine of the version before.

An execution keeps the definition with which it started, and that definition names this function.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.delivery.machines import machine_of
from jobmanager.delivery.notify import run
from jobmanager.runtime.step import step


@step
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Takes ``{execution, task_token}``; see :func:`run`."""
    run(event["execution"], machine_of(event), now_ms())
