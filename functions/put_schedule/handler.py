"""Puts the trigger of a schedule, before a job on that schedule is saved. Safe to repeat."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.core.clock import now_ms
from jobmanager.runtime.step import returns_refusals, step
from jobmanager.schedules.limit import put_schedule


@step
@returns_refusals
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Takes ``{schedule}``, a key, and the job's names for the log; see :func:`put_schedule`."""
    return dict(put_schedule(event["schedule"], now_ms()))
