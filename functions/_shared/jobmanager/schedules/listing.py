"""Lists the schedules in use."""

from itertools import islice
from typing import Any

from jobmanager.api.fields import refuse_unknown
from jobmanager.api.page_tokens import limit, page, position
from jobmanager.api.search import canonical as canonical_search
from jobmanager.core.clock import iso
from jobmanager.core.settings import number_setting, setting
from jobmanager.schedules import counts
from jobmanager.schedules.fire_times import next_fire_times
from jobmanager.schedules.keys import timing_of
from jobmanager.schedules.timing import Timing
from jobmanager.schedules.triggers import state, type_of

_FIRE_TIMES_IN_A_LIST = 3


def list_schedules(query: dict[str, Any], at_ms: int) -> dict[str, Any]:
    """Returns a page of schedules, sorted by ``schedule_key``.

    Each is ``{schedule_key, schedule, time_zone, trigger_type, job_count, rule, next_fire_times}``, with
    ``start_at`` and ``end_at`` if it has them. ``rule`` is the state of its trigger, of either type:
    ``in step``, ``missing``, ``disabled`` or ``different``. ``next_fire_times`` is null for a rate without a
    start: EventBridge counts from when its trigger was put, and does not return that time.

    Beside them, ``schedule_count``, ``rule_count`` and ``schedule_limit`` are those of the whole stage.
    ``rule_count`` are the schedules that have rules, of which there may be ``schedule_limit``.

    ``query``: ``limit``, ``more``. Raises BadRequest.
    """
    refuse_unknown(query, ("limit", "more"))
    page_size = limit(query.get("limit"))
    searched = canonical_search("schedules")
    after = position(query.get("more"), searched) or ""
    found = list(islice(counts.in_use(after), page_size + 1))
    more = found[page_size - 1][0] if len(found) > page_size else None
    views = [_view(schedule, job_count, at_ms) for schedule, job_count in found[:page_size]]
    return {
        **page(views, more, searched, lambda view: str(view["schedule_key"])),
        "schedule_count": counts.count(),
        "rule_count": counts.count_for_rules() if setting("TRIGGER_TYPE") == "rule" else 0,
        "schedule_limit": number_setting("SCHEDULE_LIMIT"),
    }


def _view(schedule: str, job_count: int, at_ms: int) -> dict[str, Any]:
    timing = timing_of(schedule)
    bounds = {"start_at": timing.start_ms, "end_at": timing.end_ms}
    return {
        "schedule_key": schedule,
        "schedule": timing.schedule,
        "time_zone": timing.time_zone,
        **{name: iso(ms) for name, ms in bounds.items() if ms is not None},
        "trigger_type": type_of(schedule),
        "job_count": job_count,
        "rule": state(schedule),
        "next_fire_times": _next_fire_times(timing, at_ms),
    }


def _next_fire_times(timing: Timing, at_ms: int) -> list[str] | None:
    if not timing.has_known_times:
        return None
    return [iso(ms) for ms in next_fire_times(timing, at_ms, _FIRE_TIMES_IN_A_LIST)]
