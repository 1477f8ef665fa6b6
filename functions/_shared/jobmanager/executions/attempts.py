"""The attempts of an execution: which one is current, how earlier ones ended, and whether another follows.

An execution of a job with ``retry`` may have several attempts, one after the other. They share one record,
one lock and one Step Functions execution. The record's list ``attempts`` holds each ended attempt that was
followed by another. So the length of the list identifies the current attempt, and a write for that attempt
requires that the length is unchanged. Without ``retry`` a record has no such list.
"""

import json
from collections.abc import Mapping
from math import ceil
from typing import Any, cast

from jobmanager.core.clock import iso
from jobmanager.core.mappings import picked
from jobmanager.core.settings import number_setting
from jobmanager.executions.record import Attempt, Execution, Result, is_express

MAX_WAIT_SECONDS = 3600
"""The longest wait before an attempt, whatever ``backoff_rate`` yields."""

_MAX_CHARACTERS = 1024
_SECONDS_TO_DECIDE = 60
_RESULT_FIELDS = ("status", "error", "cause", "fault", "summary", "correlation_id", "progress")
_RECORD_FIELDS = ("service_invoked_at_ms", "progress")


def seconds_to_sweep() -> int:
    """Returns the longest time until the sweep acts on a deadline: the grace, until it comes, and to work."""
    return number_setting("SECONDS_TO_SWEEP")


def current(record: Execution) -> int:
    """Returns the number of the attempt that is running, or the next if none is; the first is 1."""
    return 1 + len(record.get("attempts", ()))


def is_between_attempts(record: Execution) -> bool:
    """Whether one attempt has ended, and the next has not begun."""
    return "attempts" in record and "service_invoked_at_ms" not in record


def is_delivered(record: Execution) -> bool:
    """Whether a heartbeat of the current attempt has arrived, which proves that its service was notified."""
    return record.get("delivered_attempt") == current(record)


def not_notified(record: Execution, why: str) -> Result:
    """Builds the result of an attempt whose service was never notified: that is the manager's fault."""
    cause = f"the service was not notified of attempt {current(record)}: {why}"
    return {"error": "Manager.NotNotified", "cause": cause, "fault": "manager"}


def latest(record: Execution) -> int:
    """Returns the number of the latest attempt that has begun; 1 even if none has."""
    return current(record) - is_between_attempts(record)


def next_begins_at(record: Execution, status: str, at_ms: int) -> int | None:
    """Returns when the next attempt begins (seconds since 1970) if the current one ends now with ``status``.

    None if no other follows: the job does not retry this status, all attempts are used, or
    ``max_duration_seconds`` leaves less than a full ``ttl_seconds`` for another.
    """
    retry = record.get("retry")
    if retry is None or status not in retry["on"] or current(record) >= retry["max_attempts"]:
        return None
    seconds = retry["interval_seconds"] * retry["backoff_rate"] ** (current(record) - 1)
    begins_at = ceil(at_ms / 1000 + min(seconds, MAX_WAIT_SECONDS))
    over_at = record["started_at_ms"] // 1000 + record["max_duration_seconds"]
    return begins_at if begins_at + record["ttl_seconds"] < over_at else None


def ended(
    record: Execution, status: str, stored: Mapping[str, Any], at_ms: int, next_attempt_at: int
) -> Attempt:
    """Builds the entry in ``attempts`` for the current attempt, which ends and is followed by another."""
    entry = {
        "attempt": current(record),
        "status": status,
        **picked(record, _RECORD_FIELDS),
        **shortened(stored),
        "finished_at_ms": at_ms,
        "next_attempt_at": next_attempt_at,
    }
    return cast(Attempt, entry)


def shortened(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Shortens the texts of a result, so that all attempts fit into one record."""
    kept = picked(stored, _RESULT_FIELDS)
    kept |= {name: shortened_text(kept[name]) for name in ("cause", "summary") if name in kept}
    if len(kept.get("error", "")) > _MAX_CHARACTERS:
        error = json.loads(kept["error"])
        kept["error"] = json.dumps(shortened_text(error), ensure_ascii=False)
    return kept


def shortened_text(value: Any) -> Any:
    """Returns a value as it is, or only the beginning of its text if that is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"


def views(record: Execution) -> list[dict[str, Any]]:
    """Returns the attempts that have begun as the API shows them, oldest first."""
    attempts: list[Mapping[str, Any]] = list(record.get("attempts", ()))
    if not is_between_attempts(record):
        now = picked(record, ("finished_at_ms", *_RECORD_FIELDS))
        attempts.append({"attempt": current(record), **shortened(record), **now})
    return [_view(attempt) for attempt in attempts]


def _view(attempt: Mapping[str, Any]) -> dict[str, Any]:
    view = {name: value for name, value in attempt.items() if name != "next_attempt_at"}
    if "error" in view:
        view["error"] = json.loads(view["error"])
    return view


def next_attempt_at(record: Execution) -> str:
    """Returns when the next attempt begins; call it only if one follows."""
    return iso(record["attempts"][-1]["next_attempt_at"] * 1000)


def lock_expiry_on_job(record: Execution, expires_at: int) -> int:
    """Converts ``lock_expires_at`` of an execution to that of its job's lock; both in seconds since 1970.

    If the job retries after ``timeout``, its lock is held for an extra time, in which the manager decides
    whether another attempt follows. Of an Express execution, the sweep decides.
    """
    if "retry" not in record or "timeout" not in record["retry"]["on"]:
        return expires_at
    return expires_at + (seconds_to_sweep() if is_express(record) else _SECONDS_TO_DECIDE)
