"""Lists the schedules in use, and previews any schedule."""

from itertools import islice
from typing import Any

from jobmanager.api.fields import bad_field, refuse_unknown
from jobmanager.api.page_tokens import bounded_count, limit, page, position
from jobmanager.api.search import canonical as canonical_search
from jobmanager.core.clock import iso
from jobmanager.schedules import counts
from jobmanager.schedules.expression import InvalidSchedule, canonical
from jobmanager.schedules.fire_times import is_rate, next_fire_times
from jobmanager.schedules.rules import rule_state

_FIRE_TIMES_IN_A_LIST = 3
_FIRE_TIMES_OF_A_PREVIEW = 10


def list_schedules(query: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """Returns a page of ``{schedule, job_count, rule, next_fire_times}``, sorted by schedule.

    ``query``: ``limit``, ``more``. ``rule`` is ``in step``, ``missing``, ``disabled`` or ``different``.
    ``next_fire_times`` is null for a rate: EventBridge counts from when the rule was put, and does not return
    that time. Raises BadRequest.
    """
    refuse_unknown(query, ("limit", "more"))
    page_size = limit(query.get("limit"))
    searched = canonical_search("schedules")
    after = position(query.get("more"), searched) or ""
    found = list(islice(counts.in_use(after), page_size + 1))
    more = found[page_size - 1][0] if len(found) > page_size else None
    views = [_view(schedule, job_count, at_ms) for schedule, job_count in found[:page_size]]
    return page(views, more, searched, lambda view: str(view["schedule"]))


def _view(schedule: str, job_count: int, at_ms: int) -> dict[str, Any]:
    times = None if is_rate(schedule) else next_fire_times(schedule, at_ms, _FIRE_TIMES_IN_A_LIST)
    return {
        "schedule": schedule,
        "job_count": job_count,
        "rule": rule_state(schedule),
        "next_fire_times": times if times is None else [iso(ms) for ms in times],
    }


def preview_schedule(query: dict[str, str], at_ms: int) -> dict[str, Any]:
    """Returns ``{"schedule": canonical, "fire_times": ["…Z", …]}``, for a rate also ``counted_from``.

    ``query``: ``schedule``, ``count``. A schedule that ends has fewer than ``count`` fire times. A rate is
    counted from ``at_ms``, as if its rule were put then. Raises BadRequest.
    """
    refuse_unknown(query, ("schedule", "count"))
    count = bounded_count("count", query.get("count"), _FIRE_TIMES_OF_A_PREVIEW)
    if "schedule" not in query:
        raise bad_field("schedule", "expected an EventBridge expression, such as cron(0 2 * * ? *)")
    try:
        schedule = canonical(query["schedule"])
    except InvalidSchedule as refusal:
        raise bad_field("schedule", str(refusal)) from None
    counted_from = {"counted_from": iso(at_ms)} if is_rate(schedule) else {}
    fire_times = [iso(ms) for ms in next_fire_times(schedule, at_ms, count)]
    return {"schedule": schedule, **counted_from, "fire_times": fire_times}
