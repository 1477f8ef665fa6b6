"""The attempts of an execution: which one is current, how earlier ones ended, and whether another follows.

An execution of a job with ``retry`` may take several attempts, one after the other, under one record, one
lock and one Step Functions execution. The record lists in ``attempts`` each attempt that ended while another
followed. Their number tells which attempt is current, so a write on the condition that there are still as
many belongs to the attempt that was read. The record of a job without ``retry`` has no such list.
"""

import json
from collections.abc import Mapping
from math import ceil
from typing import Any, cast

from jobmanager.core.clock import iso
from jobmanager.core.mappings import picked
from jobmanager.executions.record import Attempt, Execution

MOST_WAIT_SECONDS = 3600
"""The longest wait before an attempt, however often ``backoff_rate`` multiplied it."""

_MOST_CHARACTERS = 1024
_SECONDS_TO_DECIDE = 60
_OF_AN_ATTEMPT = ("status", "error", "cause", "summary", "correlation_id", "progress")
_KEPT = ("service_invoked_at_ms", "progress")


def current(record: Execution) -> int:
    """The number of the attempt that is made, or waited for; the first is 1."""
    return 1 + len(record.get("attempts", ()))


def is_waited_for(record: Execution) -> bool:
    """Whether one attempt has ended, and the next has not begun."""
    return "attempts" in record and "service_invoked_at_ms" not in record


def latest(record: Execution) -> int:
    """The number of the latest attempt that has begun; 1 also before the first has."""
    return current(record) - is_waited_for(record)


def next_begins_at(record: Execution, status: str, at_ms: int) -> int | None:
    """When another attempt begins after one that ends now with that status, in seconds since 1970.

    None if no other follows: the job asks for none, all are used, or ``max_duration_seconds`` leaves less
    than a full ``ttl_seconds`` for it.
    """
    retry = record.get("retry")
    if retry is None or status not in retry["on"] or current(record) >= retry["max_attempts"]:
        return None
    seconds = retry["interval_seconds"] * retry["backoff_rate"] ** (current(record) - 1)
    begins_at = ceil(at_ms / 1000 + min(seconds, MOST_WAIT_SECONDS))
    over_at = record["started_at_ms"] // 1000 + record["max_duration_seconds"]
    return begins_at if begins_at + record["ttl_seconds"] < over_at else None


def ended(
    record: Execution, status: str, stored: Mapping[str, Any], at_ms: int, next_attempt_at: int
) -> Attempt:
    """What the record keeps of the current attempt, which ends while another follows."""
    kept = {
        "attempt": current(record),
        "status": status,
        **picked(record, _KEPT),
        **shortened(stored),
        "finished_at_ms": at_ms,
        "next_attempt_at": next_attempt_at,
    }
    return cast(Attempt, kept)


def shortened(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A result as an attempt keeps it: the beginning of each text, so that all attempts fit into a record."""
    kept = picked(stored, _OF_AN_ATTEMPT)
    kept |= {name: shortened_text(kept[name]) for name in ("cause", "summary") if name in kept}
    if len(kept.get("error", "")) > _MOST_CHARACTERS:
        error = json.loads(kept["error"])
        kept["error"] = json.dumps(shortened_text(error), ensure_ascii=False)
    return kept


def shortened_text(value: Any) -> Any:
    """The value, or the beginning of its text if that is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def views(record: Execution) -> list[dict[str, Any]]:
    """Every attempt that has begun, oldest first, as the API shows it."""
    attempts: list[Mapping[str, Any]] = list(record.get("attempts", ()))
    if not is_waited_for(record):
        now = picked(record, ("finished_at_ms", *_KEPT))
        attempts.append({"attempt": current(record), **shortened(record), **now})
    return [_view(attempt) for attempt in attempts]


def _view(attempt: Mapping[str, Any]) -> dict[str, Any]:
    view = {name: value for name, value in attempt.items() if name != "next_attempt_at"}
    if "error" in view:
        view["error"] = json.loads(view["error"])
    return view


def next_attempt_at(record: Execution) -> str:
    """When the attempt that is waited for begins."""
    return iso(record["attempts"][-1]["next_attempt_at"] * 1000)


def holds_lock_until(record: Execution, expires_at: int) -> int:
    """When the lock expires of an execution whose ``lock_expires_at`` is that; both in seconds since 1970.

    The lock of a job that retries after ``timeout`` is held for one extra minute, in which the manager
    decides whether another attempt follows.
    """
    on = record["retry"]["on"] if "retry" in record else ()
    return expires_at + (_SECONDS_TO_DECIDE if "timeout" in on else 0)
