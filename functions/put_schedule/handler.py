"""Makes sure that the rule of a schedule stands, before any job relies on it. Repeatable."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager import schedules
from jobmanager.clock import now_ms
from jobmanager.errors import ScheduleLimitReached
from jobmanager.rules import put_rule
from jobmanager.schedule import InvalidSchedule
from jobmanager.schedule_limit import check_limit, nearest
from jobmanager.steps import step


def put_schedule(schedule: str) -> dict[str, Any]:
    """Answers nothing, or ``{"errors": [{pointer, detail}]}`` if EventBridge does not take the schedule.

    A schedule for which the stage or the account has no room is answered with
    ``{"conflict": {detail, limit, nearest_schedules}}``; ``limit`` is there only if it is the stage's.
    """
    try:
        check_limit(schedule)
        put_rule(schedule)
    except InvalidSchedule as refusal:
        return {"errors": [{"pointer": "/schedule", "detail": str(refusal)}]}
    except ScheduleLimitReached as refusal:
        existing = [used for used, _ in schedules.in_use()]
        return {
            "conflict": {
                "detail": refusal.detail,
                **refusal.extra,
                "nearest_schedules": nearest(schedule, existing, now_ms()),
            }
        }
    return {}


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """``{schedule}``, in canonical form; see :func:`put_schedule`."""
    return put_schedule(event["schedule"])
