"""GET /schedules: the unique schedules of the stage's active jobs, so that one can be picked that exists."""

from itertools import islice
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager.api.fields import refuse_unknown
from jobmanager.api.http import answer, api_handler
from jobmanager.api.page_tokens import limit, page, position
from jobmanager.api.search import canonical, search_query
from jobmanager.core.clock import iso, now_ms
from jobmanager.runtime.step import step
from jobmanager.schedules import counts as schedules
from jobmanager.schedules.fire_times import is_rate, next_fire_times
from jobmanager.schedules.rules import rule_state

_FIRE_TIMES = 3


def list_schedules(query: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """A page of ``{schedule, job_count, rule, next_fire_times}``, sorted; ``query``: ``limit``, ``more``.

    ``rule`` is ``in step``, ``missing``, ``disabled`` or ``different``. ``next_fire_times`` is null for a
    rate: EventBridge counts it from when the rule was put, and does not tell when that was.
    Raises BadRequest.
    """
    refuse_unknown(query, ("limit", "more"))
    most = limit(query.get("limit"))
    searched = canonical("schedules")
    after = position(query.get("more"), searched) or ""
    found = list(islice(schedules.in_use(after), most + 1))
    more = found[most - 1][0] if len(found) > most else None
    return page([_view(schedule, job_count, at_ms) for schedule, job_count in found[:most]], more, searched)


def _view(schedule: str, job_count: int, at_ms: int) -> dict[str, Any]:
    times = None if is_rate(schedule) else next_fire_times(schedule, at_ms, _FIRE_TIMES)
    return {
        "schedule": schedule,
        "job_count": job_count,
        "rule": rule_state(schedule),
        "next_fire_times": times if times is None else [iso(ms) for ms in times],
    }


@step
@api_handler
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers 200 with a page of schedules, or 400."""
    return answer(200, list_schedules(search_query(event), now_ms()))
