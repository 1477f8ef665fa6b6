"""Puts the rule of a schedule before any job relies on it. Safe to repeat."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.runtime.step import answers_refusals, step
from jobmanager.schedules.limit import put_schedule


@step
@answers_refusals
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """``{schedule}``, in canonical form, and whose it will be; see :func:`put_schedule`."""
    put_schedule(event["schedule"], now_ms())
    return {}
