"""Tells people about problems of jobs and alarms, grouped, and once more when they are over."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.alerts.route import route
from jobmanager.core.clock import now_ms
from jobmanager.runtime.step import step

# A delivery takes 15 s at most: resolving, connecting and the answer.
_LONGEST_DELIVERY_MS = 20_000


@step
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Handles the messages that Lambda has read from the queue; see :mod:`jobmanager.alerts.route`."""
    until_ms = now_ms() + context.get_remaining_time_in_millis() - _LONGEST_DELIVERY_MS
    route(event["Records"], until_ms)
