"""When a job fires, and the key of the schedule that it is on (jobmanager.schedules.keys)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.core.errors import FieldError
from jobmanager.schedules.expression import (
    FIRST_YEAR,
    LAST_YEAR,
    InvalidSchedule,
    canonical,
    is_at,
    is_rate,
)
from jobmanager.schedules.fire_times import fires_again
from jobmanager.schedules.keys import key_of, timing_of
from jobmanager.schedules.timing import Timing
from jobmanager.schedules.zones import UTC, canonical_zone

_BEFORE_ALL_MS = -(10**12)
"""A moment before all fire times."""


def timing_of_job(job: Mapping[str, Any]) -> Timing:
    """Returns the timing of a job, of its definition, or of the record of an execution, which snapshots it.

    It must have a schedule, which a job that runs after others has not. Without ``time_zone`` it goes by UTC.
    """
    start_ms, end_ms = (ms_of_iso(job[name]) if name in job else None for name in ("start_at", "end_at"))
    return Timing(job["schedule"], job.get("time_zone", UTC), start_ms, end_ms)


def schedule_key(job: Mapping[str, Any]) -> str:
    """Returns the key of the schedule that a job is on while it is active; see :func:`timing_of_job`."""
    return shared_key_of(timing_of_job(job))


def shared_key_of(timing: Timing) -> str:
    """Returns the key under which a timing shares its trigger.

    A rate counts absolute time, so a time zone does not change when it fires. Its key has none, and it shares
    the trigger of the same rate in other zones.
    """
    return key_of(replace(timing, time_zone=UTC) if is_rate(timing.schedule) else timing)


def searched_key_of(text: str) -> str:
    """Returns the key that a caller means by a key, or by an expression, which is one in UTC without bounds.

    Raises InvalidSchedule.
    """
    try:
        timing = timing_of(text)
    except InvalidSchedule:
        timing = Timing(text)
    return shared_key_of(
        replace(
            timing,
            schedule=canonical(timing.schedule, allows_at=True),
            time_zone=canonical_zone(timing.time_zone),
        )
    )


def canonical_timing(body: Mapping[str, Any]) -> dict[str, str]:
    """Returns the fields of a job's timing in canonical form, for a body without errors.

    They are ``schedule``, ``time_zone`` (UTC if the body has none), and ``start_at`` and ``end_at`` if given,
    in UTC and whole seconds, between those that were given: EventBridge Scheduler knows no fractions.
    """
    return {"time_zone": UTC, **{name: _CANONICAL[name](body[name]) for name in _CANONICAL if name in body}}


def timing_errors(body: Mapping[str, Any]) -> list[FieldError]:
    """Returns all errors in the fields of a job's timing, of which any may be missing.

    ``end_at`` must be after ``start_at``, and the time of an ``at`` between them.
    """
    errors, valid = [], {}
    for name, canonical_of in _CANONICAL.items():
        if name not in body:
            continue
        try:
            valid[name] = canonical_of(body[name])
        except ValueError as error:
            errors.append(FieldError(pointer=f"/{name}", detail=str(error)))
    return errors or _errors_between(valid)


def _errors_between(valid: Mapping[str, str]) -> list[FieldError]:
    timing = timing_of_job({"schedule": "", **valid})
    if timing.start_ms is not None and timing.end_ms is not None and timing.end_ms <= timing.start_ms:
        detail = f"expected a time after start_at, {valid['start_at']}"
        return [FieldError(pointer="/end_at", detail=detail)]
    if not is_at(timing.schedule):
        return []
    # A time that the clock skips never fires, wherever the bounds are.
    fires_without_bounds = fires_again(replace(timing, start_ms=None, end_ms=None), _BEFORE_ALL_MS)
    if not fires_without_bounds or fires_again(timing, _BEFORE_ALL_MS):
        return []
    bounds = {"from start_at": valid.get("start_at"), "until end_at": valid.get("end_at")}
    expected = " ".join(f"{words}, {bound}," for words, bound in bounds.items() if bound).removesuffix(",")
    return [FieldError(pointer="/schedule", detail=f"expected a time {expected}")]


def _canonical_schedule(expression: str) -> str:
    return canonical(expression, allows_at=True)


def _canonical_start(text: str) -> str:
    return _canonical_bound(text, 999)


def _canonical_bound(text: str, rounded_up_ms: int = 0) -> str:
    try:
        ms = ms_of_iso(text)
    except ValueError:
        raise ValueError(
            "expected a time with an offset, such as 2026-12-24T18:00:00Z or 2026-12-24T19:00:00+01:00"
        ) from None
    if not f"{FIRST_YEAR}" <= iso(ms)[:4] <= f"{LAST_YEAR}":
        raise ValueError(f"expected a time in the years {FIRST_YEAR} to {LAST_YEAR}")
    return iso(ms + rounded_up_ms)


_CANONICAL: dict[str, Callable[[str], str]] = {
    "schedule": _canonical_schedule,
    "time_zone": canonical_zone,
    "start_at": _canonical_start,
    "end_at": _canonical_bound,
}
