"""Settles the triggers of the schedules that a job has left or entered. Safe to repeat."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.runtime.step import step
from jobmanager.schedules.triggers import settle_all


@step
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Takes ``{schedules}``, and the job's names for the log; see :func:`settle_all`."""
    settle_all(event["schedules"])
