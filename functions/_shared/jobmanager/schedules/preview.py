"""Previews any schedule: when it would fire."""

from typing import Any

from jobmanager.api.fields import bad_field, refuse_unknown, time_ms
from jobmanager.api.page_tokens import bounded_count
from jobmanager.core.clock import iso
from jobmanager.schedules.expression import FIRST_YEAR, LAST_YEAR, InvalidSchedule, canonical, is_rate
from jobmanager.schedules.fire_times import next_fire_times, next_local_times
from jobmanager.schedules.local_times import LocalTime
from jobmanager.schedules.timing import Timing
from jobmanager.schedules.zones import UTC, InvalidTimeZone, canonical_zone

_FIELDS = ("schedule", "time_zone", "from", "count", "start_at", "end_at")
_COUNT = 10


def preview_schedule(query: dict[str, str], at_ms: int) -> dict[str, Any]:
    """Returns ``{schedule, time_zone, fire_times, times}``, for a rate also ``counted_from``.

    ``query``: ``schedule``, ``time_zone``, ``from``, ``count``, ``start_at``, ``end_at``.

    - ``fire_times``: the next ``count`` moments at which it fires, in UTC. They are at or after ``from``, or
      after ``at_ms``.
    - ``times``: the next ``count`` times by the clock of the time zone, as ``{local, utc, skipped}``. A
      skipped one does not fire.

    Both lists are shorter if the schedule ends. A rate is counted from ``start_at``, or else from ``from`` or
    ``at_ms``, as if its trigger were put then. Raises BadRequest.
    """
    refuse_unknown(query, _FIELDS)
    count = bounded_count("count", query.get("count"), _COUNT)
    timing = _timing_of(query)
    from_ms = _from_ms(query, at_ms)
    after_ms = from_ms - 1 if "from" in query else from_ms
    counted_from = {}
    if is_rate(timing.schedule):
        since_ms = from_ms if timing.start_ms is None else timing.start_ms
        counted_from = {"counted_from": iso(since_ms)}
        after_ms = from_ms if timing.start_ms is None else after_ms
    return {
        "schedule": timing.schedule,
        "time_zone": timing.time_zone,
        **counted_from,
        "fire_times": [iso(ms) for ms in next_fire_times(timing, after_ms, count)],
        "times": [local_time_view(found) for found in next_local_times(timing, after_ms, count)],
    }


def _from_ms(query: dict[str, str], at_ms: int) -> int:
    if "from" not in query:
        return at_ms
    from_ms = time_ms("from", query["from"])
    if not f"{FIRST_YEAR}" <= iso(from_ms)[:4] <= f"{LAST_YEAR}":
        raise bad_field("from", f"expected a time in the years {FIRST_YEAR} to {LAST_YEAR}")
    return from_ms


def _timing_of(query: dict[str, str]) -> Timing:
    if "schedule" not in query:
        raise bad_field("schedule", "expected an EventBridge expression, such as cron(0 2 * * ? *)")
    try:
        schedule = canonical(query["schedule"], allows_at=True)
    except InvalidSchedule as refusal:
        raise bad_field("schedule", str(refusal)) from None
    try:
        time_zone = canonical_zone(query.get("time_zone", UTC))
    except InvalidTimeZone as refusal:
        raise bad_field("time_zone", str(refusal)) from None
    start_ms, end_ms = (
        time_ms(name, query[name]) if name in query else None for name in ("start_at", "end_at")
    )
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise bad_field("end_at", "expected a time after start_at")
    return Timing(schedule, time_zone, start_ms, end_ms)


def local_time_view(found: LocalTime) -> dict[str, Any]:
    """Returns a time as the API shows it: ``{local, utc, skipped}``."""
    return {"local": found.iso(), "utc": iso(found.utc_ms), "skipped": found.is_skipped}
