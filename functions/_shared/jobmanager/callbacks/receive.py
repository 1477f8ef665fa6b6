"""Applies a callback: it extends the execution's time, or records how the attempt ended.

The outcome is written to the record first. Then the execution is settled, Step Functions is signalled, and
the service gets its 200. So an outcome that was acknowledged is never lost, and when a service has its
answer, the lock of its job is free. A service may repeat a final callback as often as it likes. If the
function died before it did all this, the repetition does the rest.

Each attempt has its own callback_url. Once an attempt has ended, its callbacks get 410, even if another
attempt follows, and the service must stop working on the ended attempt.
"""

from collections.abc import Mapping
from typing import Any, cast

from jobmanager.callbacks.body import callback_errors
from jobmanager.callbacks.token import attempt_of, is_genuine, split_token
from jobmanager.core.clock import iso
from jobmanager.core.errors import BadRequest, Forbidden, Gone, counted
from jobmanager.core.mappings import picked
from jobmanager.executions import attempts, large_values, store, task_signal
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.end_task import end_task
from jobmanager.executions.lock_extension import hold_lock
from jobmanager.executions.metrics import count_heartbeat
from jobmanager.executions.outcome import stored_result
from jobmanager.executions.record import RUNNING, Execution, Result, is_open, lock_expiry, not_after_warning
from jobmanager.runtime.logs import logger

_RESULT_FIELDS = ("summary", "state", "error", "correlation_id", "progress")


def authenticate(token: str) -> tuple[Execution, int]:
    """Returns the execution and the attempt of a token; raises Forbidden, always with the same message."""
    execution_id, secret = split_token(token)
    record = store.find(execution_id)
    if record is None or not is_genuine(secret, record.get("callback_hashes", [])):
        raise Forbidden("This callback token is not one of ours. Use the callback_url of the notification.")
    return record, attempt_of(secret)


def checked(body: Any, record: Execution) -> dict[str, Any]:
    """Returns the body of a callback; raises BadRequest with all errors in it."""
    if errors := callback_errors(body, record["ttl_seconds"]):
        raise BadRequest(counted(len(errors), "field", "not as expected"), errors=errors)
    valid: dict[str, Any] = body
    return valid


def apply_callback(record: Execution, attempt: int, body: dict[str, Any], at_ms: int) -> Execution:
    """Applies a valid callback and returns the updated record; raises Gone if the attempt has ended."""
    if body["status"] == "processing":
        return _heartbeat(record, attempt, body, at_ms)
    return _finish(record, attempt, body, at_ms)


def _heartbeat(record: Execution, attempt: int, body: dict[str, Any], at_ms: int) -> Execution:
    if attempt != attempts.current(record):
        raise _gone(record["execution_id"], attempt)
    seconds = int(body["extend_seconds"] if "extend_seconds" in body else record["ttl_seconds"])
    expires_at = lock_expiry(record["started_at_ms"], at_ms, seconds, record["max_duration_seconds"])
    _hold_lock(record, attempt, max(expires_at, record["lock_expires_at"]))
    # A heartbeat also proves that the notification arrived, whatever a gateway has answered to it.
    update = "SET lock_expires_at = :until, last_heartbeat_at_ms = :now, delivered_attempt = :attempt"
    condition, values = store.is_at_attempt(attempt)
    if "progress" in body:
        update, values[":progress"] = f"{update}, progress = :progress", round(body["progress"], 3)
    # Also if the deadline becomes earlier: the sweep may be about to move its time to the later one.
    if "sweep_at" in record and expires_at < max(record["sweep_at"], record["lock_expires_at"]):
        update += ", sweep_at = :look"
        values[":look"] = not_after_warning(record, expires_at, at_ms)
    updated = store.update_if(
        record["execution_id"],
        f"{update} ADD heartbeats :one",
        condition,
        {":until": expires_at, ":now": at_ms, ":one": 1, ":attempt": attempt, **values},
    )
    if updated is None:
        raise _gone(record["execution_id"], attempt)
    if expires_at < record["lock_expires_at"]:
        _hold_lock(record, attempt, expires_at)
    if "task_token" in updated:
        task_signal.heartbeat(updated["task_token"])
    logger.info("heartbeat accepted", extra={"progress": body.get("progress")})
    count_heartbeat(updated)
    return updated


def _finish(record: Execution, attempt: int, body: dict[str, Any], at_ms: int) -> Execution:
    result = cast(Result, picked(body, _RESULT_FIELDS))
    if "progress" in result:
        result["progress"] = round(result["progress"], 3)
    ended = None
    if attempt == attempts.current(record):
        _hold_lock(record, attempt, max(at_ms // 1000 + record["ttl_seconds"], record["lock_expires_at"]))
        ended = end_attempt(record, body["status"], result, at_ms)
    if ended is None:
        ended = store.find(record["execution_id"]) or record
        if not _is_repetition(ended, attempt, body["status"], result):
            raise _gone(record["execution_id"], attempt)
    end_task(ended, at_ms)
    if ended["status"] == RUNNING or not is_open(ended):  # else end_task has logged how it settled it
        logger.info("result accepted", extra={"status": body["status"]})
    return ended


def _hold_lock(record: Execution, attempt: int, expires_at: int) -> None:
    """Does what :func:`hold_lock` does; raises Gone if another execution holds the lock."""
    if record["status"] == RUNNING and not hold_lock(record, expires_at):
        raise _gone(record["execution_id"], attempt)


def _is_repetition(record: Execution, attempt: int, status: str, result: Result) -> bool:
    """Whether this final callback repeats the one that ended the attempt."""
    stored = stored_result(result)
    ended: Mapping[str, Any] = record
    if attempt < attempts.current(record):
        ended, stored = record["attempts"][attempt - 1], attempts.shortened(stored)
    names = ("summary", "error", "correlation_id")
    is_same = ended["status"] == status and all(ended.get(name) == stored.get(name) for name in names)
    return is_same and large_values.has(ended, "state", stored.get("state"))


def _gone(execution_id: str, attempt: int) -> Gone:
    record = store.find(execution_id)
    if record is None:
        return Gone("The execution is over, and its record has expired.")
    if record["status"] == RUNNING and attempt < attempts.current(record):
        status = record["attempts"][attempt - 1]["status"]
        detail = f"Attempt {attempt} has ended as {status}, and another follows: stop working on this one."
        return Gone(detail, execution_status=record["status"])
    if record["status"] == RUNNING:
        detail = "The lock has passed to another execution: stop working on this one."
        return Gone(detail, execution_status=record["status"])
    return Gone(f"The execution has ended as {record['status']}.", execution_status=record["status"])


def callback_view(record: Execution) -> dict[str, Any]:
    """The response to a callback."""
    view: dict[str, Any] = {
        "execution_id": record["execution_id"],
        "attempt": attempts.latest(record),
        "status": record["status"],
        "lock_expires_at": iso(record["lock_expires_at"] * 1000),
    }
    if "progress" in record:
        view["progress"] = record["progress"]
    if record["status"] == RUNNING and attempts.is_between_attempts(record):
        view["next_attempt_at"] = attempts.next_attempt_at(record)
    return view
