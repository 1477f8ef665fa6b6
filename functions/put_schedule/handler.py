"""Makes sure that the rule of a schedule stands, before any job relies on it. Repeatable."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import bad_field
from jobmanager.core.clock import now_ms
from jobmanager.core.errors import ScheduleLimitReached
from jobmanager.runtime.step import answers_refusals, step
from jobmanager.schedules import counts as schedules
from jobmanager.schedules.expression import InvalidSchedule
from jobmanager.schedules.limit import check_limit, nearest
from jobmanager.schedules.rules import put_rule


def put_schedule(schedule: str) -> None:
    """Raises BadRequest if EventBridge does not take the schedule.

    Raises ScheduleLimitReached with the ``nearest_schedules`` if the stage or the account has no room for
    it; with ``limit`` too, if it is the stage's.
    """
    try:
        check_limit(schedule)
        put_rule(schedule)
    except InvalidSchedule as refusal:
        raise bad_field("schedule", str(refusal)) from None
    except ScheduleLimitReached as refusal:
        refusal.extra["nearest_schedules"] = nearest(
            schedule, [used for used, _ in schedules.in_use()], now_ms()
        )
        raise


@step
@answers_refusals
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """``{schedule}``, in canonical form, and whose it will be; see :func:`put_schedule`."""
    put_schedule(event["schedule"])
    return {}
