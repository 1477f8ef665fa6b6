"""Starts waiting executions whose turn has come. The functions that free a lock or a slot invoke it."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.executions.turn import give_turns
from jobmanager.runtime.step import step


@step
def handler(event: dict[str, str], context: LambdaContext) -> dict[str, Any]:
    """Takes what :func:`give_turns` does; returns how many executions it started."""
    return {"started": give_turns(event, now_ms(), context.get_remaining_time_in_millis)}
