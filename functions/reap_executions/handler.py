"""Looks after open executions, and publishes pending events of jobs. A rule of the stage invokes it."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.executions.reap import reap
from jobmanager.jobs.untold import publish_untold
from jobmanager.runtime.step import step


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Ignores the event; returns what :func:`reap` returns, and ``told``: see :func:`publish_untold`."""
    at_ms = now_ms()
    try:
        done = reap(at_ms, context.get_remaining_time_in_millis)
    finally:
        told = publish_untold(at_ms, context.get_remaining_time_in_millis)
    return {**done, "told": told}
