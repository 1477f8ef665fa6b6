"""Makes sure that the rule of a schedule stands, before any job relies on it. Repeatable."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.rules import put_rule
from jobmanager.schedule import InvalidSchedule
from jobmanager.steps import step


def put_schedule(schedule: str) -> dict[str, Any]:
    """Answers nothing, or ``{"errors": [{pointer, detail}]}`` if EventBridge does not take the schedule."""
    try:
        put_rule(schedule)
    except InvalidSchedule as refusal:
        return {"errors": [{"pointer": "/schedule", "detail": str(refusal)}]}
    return {}


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """``{schedule}``, in canonical form; see :func:`put_schedule`."""
    return put_schedule(event["schedule"])
