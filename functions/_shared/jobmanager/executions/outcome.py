"""Records the outcome of an execution, before the execution is settled and Step Functions is signalled.

The first recorded outcome wins, by a condition on the record. So whatever happens to the function or to the
state machine afterwards, the function that settles the execution finds the outcome that the service reported.

The code that records a failure knows whose fault it is. If it is the manager's, it sets ``fault``. A result
that a service reports, in a callback or an answer, never has that field, whatever the name of its error.
"""

import json
import re
from typing import Any, cast

from jobmanager.core.mappings import picked
from jobmanager.executions import store
from jobmanager.executions.record import RUNNING, Execution, Result, Status, expires_at

# SendTaskFailure: https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskFailure.html
MAX_ERROR_CHARACTERS = 256
MAX_CAUSE_CHARACTERS = 32_768

_FOUND_WITHIN_SECONDS = 900

_STEP_FUNCTIONS_NAMES = re.compile(r"States\..*", re.DOTALL)

MAX_BYTES = {"state": 64 * 1024, "summary": 1024}
"""The largest sizes of the fields of a result, in bytes of UTF-8."""

_RESULT_FIELDS = ("summary", "state", "error", "cause", "fault", "reason", "correlation_id", "progress")


def record_outcome(
    record: Execution,
    status: Status,
    result: Result,
    now_ms: int,
    overdue_before: int | None = None,
    attempt: int | None = None,
    unless_delivered: bool = False,
    run_by: str | None = None,
) -> Execution | None:
    """Records the outcome and returns the updated record; None if the execution has ended already.

    ``record`` is the execution as it was read. The returned record holds the whole result, large values too.

    The sweep finds an ended execution that nobody settles when it would have looked at it anyway, or
    immediately if that is far away. Moving ``sweep_at`` costs two write units, because it is in the key of
    the index ``sweep``. A heartbeat or the sweep may have moved it since the record was read. So a write
    that does not move it has the condition that it is near, and a second write moves it.

    With ``overdue_before`` (seconds since 1970), also None unless ``lock_expires_at`` is before that. With
    ``attempt``, also None if that attempt has ended; ``unless_delivered``, also if a heartbeat of it came;
    ``run_by``, also if another execution of an Express machine runs it.
    """
    whole = stored_result(result)
    stored = store.with_values_apart(record, whole, expires_at(now_ms))
    sets = ["#status = :status", "finished_at_ms = :now"]
    sets += [f"{_placeholder(name)} = :{name}" for name in stored]
    values: dict[str, Any] = {
        ":status": status,
        ":now": now_ms,
        **{f":{name}": value for name, value in stored.items()},
    }
    condition, current = store.may_end(attempt, overdue_before, unless_delivered, run_by)
    values |= current
    # A record of the version before has no sweep_at. It is found by its deadline. A skipped one has neither.
    found_by = "sweep_at" if "sweep_at" in record else "lock_expires_at"
    near = now_ms // 1000 + _FOUND_WITHIN_SECONDS
    update, recorded = f"SET {', '.join(sets)}", None
    if record.get("sweep_at", record.get("lock_expires_at", 0)) <= near:
        is_near = f"{condition} AND {found_by} <= :near"
        recorded = store.update_if(record["execution_id"], update, is_near, {**values, ":near": near})
    if recorded is None and record["status"] == RUNNING:
        update, values[":found"] = f"{update}, {found_by} = :found", now_ms // 1000
        recorded = store.update_if(record["execution_id"], update, condition, values)
    return cast(Execution, {**recorded, **whole}) if recorded else None


def stored_result(result: Result) -> dict[str, Any]:
    """Returns a result in its stored form: with ``error`` as JSON text."""
    stored = picked(result, _RESULT_FIELDS)
    if "error" in stored:
        stored["error"] = json.dumps(stored["error"], ensure_ascii=False)
    return stored


def error_and_cause(record: Execution, reserved: re.Pattern[str] = _STEP_FUNCTIONS_NAMES) -> tuple[str, str]:
    """Returns the error and the cause to show in Step Functions for an execution that did not succeed.

    If the service reported a string, that is the error; if an object, its ``name`` is. A ``reserved`` name is
    moved to the cause. By default the names that begin with ``States.`` are reserved, by Step Functions.
    """
    error = json.loads(record["error"]) if "error" in record else None
    name = error_name(record, reserved)
    details = record.get("cause") or record.get("summary")
    if error != name or len(name) > MAX_ERROR_CHARACTERS or not details:
        details = "; ".join(filter(None, (details, error if isinstance(error, str) else _text(error))))
    return name[:MAX_ERROR_CHARACTERS], details[:MAX_CAUSE_CHARACTERS]


def error_name(record: Execution, reserved: re.Pattern[str] = _STEP_FUNCTIONS_NAMES) -> str:
    """Returns the name of the error of an execution that did not succeed, at any length.

    If there is none, or if it is ``reserved``, it is for instance ``Job.Fail``.
    """
    error = json.loads(record["error"]) if "error" in record else None
    named = error.get("name") if isinstance(error, dict) else error
    is_usable = isinstance(named, str) and bool(named) and not reserved.fullmatch(named)
    return cast(str, named) if is_usable else f"Job.{record['status'].capitalize()}"


def _text(error: Any) -> str:
    return "" if error is None else json.dumps(error, ensure_ascii=False)


def _placeholder(name: str) -> str:
    return f"#{name}" if name in ("state", "error") else name
