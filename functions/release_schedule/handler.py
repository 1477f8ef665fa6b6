"""Settles the rules that a change of a job touched: those that it left, and the one that it entered."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.runtime.step import step
from jobmanager.schedules.rules import settle_rules


@step
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """``{schedules}``, and whose they were; see :func:`settle_rules`."""
    settle_rules(event["schedules"])
