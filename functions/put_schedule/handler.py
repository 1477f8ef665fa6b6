"""Makes sure that the rule of a schedule stands, before any job relies on it. Repeatable."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.rules import put_rule
from jobmanager.steps import step


@step
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """``{schedule}``, in canonical form."""
    put_rule(event["schedule"])
