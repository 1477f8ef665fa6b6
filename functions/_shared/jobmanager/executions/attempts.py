"""The attempts of an execution: which is made, how earlier ones ended, whether and when another follows.

An execution of a job with ``retry`` may take several attempts, one after the other, under one record, one
lock and one Step Functions execution. Its record lists in ``attempts`` those that ended with another to
follow, so their number tells which attempt is the current one, and a write on the condition that there are
as many as were read belongs to the attempt that was read. A job without ``retry`` has nothing to store.
"""

import json
from math import ceil
from typing import Any

from jobmanager.core.clock import iso

MOST_WAIT_SECONDS = 3600
"""However often the wait has been multiplied by ``backoff_rate``."""

_MOST_CHARACTERS = 1024
_SECONDS_TO_DECIDE = 60
_OF_AN_ATTEMPT = ("status", "error", "cause", "summary", "correlation_id", "progress")
_KEPT = ("service_invoked_at_ms", "progress")


def current(record: dict[str, Any]) -> int:
    """The number of the attempt that is made, or waited for; the first is 1."""
    return 1 + len(record.get("attempts", ()))


def is_waited_for(record: dict[str, Any]) -> bool:
    """Whether one attempt has ended, and the next has not begun."""
    return "attempts" in record and "service_invoked_at_ms" not in record


def latest(record: dict[str, Any]) -> int:
    """The number of the latest attempt that has begun; 1 also before it has."""
    return current(record) - is_waited_for(record)


def next_begins_at(record: dict[str, Any], status: str, at_ms: int) -> int | None:
    """When another attempt begins after one that ends now with that status, in seconds since 1970.

    None if no other follows: none is asked for, all are used, or a service that said nothing at all would
    have to be given up before its ``ttl_seconds`` are over, because of ``max_duration_seconds``.
    """
    retry = record.get("retry")
    if retry is None or status not in retry["on"] or current(record) >= retry["max_attempts"]:
        return None
    seconds = retry["interval_seconds"] * retry["backoff_rate"] ** (current(record) - 1)
    begins_at = ceil(at_ms / 1000 + min(seconds, MOST_WAIT_SECONDS))
    over_at = record["started_at_ms"] // 1000 + record["max_duration_seconds"]
    return begins_at if begins_at + record["ttl_seconds"] < over_at else None


def ended(
    record: dict[str, Any], status: str, stored: dict[str, Any], at_ms: int, next_attempt_at: int
) -> dict[str, Any]:
    """What the record keeps of the current attempt, which ends with another to follow."""
    return {
        "attempt": current(record),
        "status": status,
        **{name: record[name] for name in _KEPT if name in record},
        **shortened(stored),
        "finished_at_ms": at_ms,
        "next_attempt_at": next_attempt_at,
    }


def shortened(stored: dict[str, Any]) -> dict[str, Any]:
    """A result as an attempt keeps it: of each text the beginning, so that all attempts fit into a record."""
    kept = {name: stored[name] for name in _OF_AN_ATTEMPT if name in stored}
    kept |= {name: shortened_text(kept[name]) for name in ("cause", "summary") if name in kept}
    if len(kept.get("error", "")) > _MOST_CHARACTERS:
        error = json.loads(kept["error"])
        kept["error"] = json.dumps(shortened_text(error), ensure_ascii=False)
    return kept


def shortened_text(value: Any) -> Any:
    """The value as it is, or the beginning of its text if that is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def views(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Every attempt that has begun, oldest first, as the API shows it."""
    attempts = list(record.get("attempts", ()))
    if not is_waited_for(record):
        now = {name: record[name] for name in ("finished_at_ms", *_KEPT) if name in record}
        attempts.append({"attempt": current(record), **shortened(record), **now})
    return [_view(attempt) for attempt in attempts]


def _view(attempt: dict[str, Any]) -> dict[str, Any]:
    view = {name: value for name, value in attempt.items() if name != "next_attempt_at"}
    if "error" in view:
        view["error"] = json.loads(view["error"])
    return view


def next_attempt_at(record: dict[str, Any]) -> str:
    """When the attempt that is waited for begins."""
    return iso(record["attempts"][-1]["next_attempt_at"] * 1000)


def first_invoked_at_ms(record: dict[str, Any]) -> int | None:
    """When the service was first notified of the execution; None if it was not."""
    first = record["attempts"][0] if "attempts" in record else record
    at_ms: int | None = first.get("service_invoked_at_ms")
    return at_ms


def holds_lock_until(record: dict[str, Any], expires_at: int) -> int:
    """When the lock of an execution expires whose ``lock_expires_at`` is that; both in seconds since 1970.

    Whether another attempt follows a timeout is decided just after it, and the lock is to be kept till then.
    """
    on = record.get("retry", {}).get("on", ())
    return expires_at + (_SECONDS_TO_DECIDE if "timeout" in on else 0)
