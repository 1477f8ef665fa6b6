"""GET /schedules/preview: when a schedule would fire, without saving anything."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import bad_field, refuse_unknown
from jobmanager.api.http import answer, api_handler, query_parameters
from jobmanager.api.page_tokens import how_many
from jobmanager.core.clock import iso, now_ms
from jobmanager.runtime.step import step
from jobmanager.schedules.expression import InvalidSchedule, canonical
from jobmanager.schedules.fire_times import next_fire_times

_DEFAULT_COUNT = 10


def preview_schedule(query: dict[str, str], at_ms: int) -> dict[str, Any]:
    """``{"schedule": canonical, "fire_times": ["…Z", …]}``; fewer than ``count`` if the schedule ends.

    A rate is counted from ``at_ms``, as if its rule were put then. ``query``: ``schedule``, ``count``.
    Raises BadRequest.
    """
    refuse_unknown(query, ("schedule", "count"))
    count = how_many("count", query.get("count"), _DEFAULT_COUNT)
    if "schedule" not in query:
        raise bad_field("schedule", "expected an EventBridge expression, such as cron(0 2 * * ? *)")
    try:
        schedule = canonical(query["schedule"])
    except InvalidSchedule as refusal:
        raise bad_field("schedule", str(refusal)) from None
    return {"schedule": schedule, "fire_times": [iso(ms) for ms in next_fire_times(schedule, at_ms, count)]}


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 200, or 400."""
    return answer(200, preview_schedule(query_parameters(event), now_ms()))
