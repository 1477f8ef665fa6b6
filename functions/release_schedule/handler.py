"""Removes the rule that a job left, if it was the last to use it, and confirms the one that it uses now.

Why both, and in this order of things, is told in jobmanager.rules. Repeatable.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.rules import confirm_rule, release_rule
from jobmanager.steps import step


def settle_schedules(left: str | None, entered: str | None) -> None:
    """``left`` and ``entered`` are schedules in canonical form, or None."""
    if entered:
        confirm_rule(entered)
    if left and left != entered:
        release_rule(left)


@step
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """``{left, entered}``; see :func:`settle_schedules`."""
    settle_schedules(event.get("left"), event.get("entered"))
