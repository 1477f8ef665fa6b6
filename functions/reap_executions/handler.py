"""Times out overdue executions that nothing else ends. A rule of the stage invokes it."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.executions.reap import reap
from jobmanager.runtime.step import step


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Ignores the event; returns what :func:`reap` returns."""
    return reap(now_ms(), context.get_remaining_time_in_millis)
