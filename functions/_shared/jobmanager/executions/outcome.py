"""How an execution ends: its outcome is written to the record first, and only then told to Step Functions.

The first outcome that is written wins, by a condition on the record. So whatever happens to the function
afterwards, or to the state machine, finish_execution finds the outcome that was acknowledged.
"""

import json
import re
from typing import Any, Literal

from jobmanager.aws.clients import step_functions
from jobmanager.executions import attempts
from jobmanager.executions import store as executions
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.store import Execution
from jobmanager.runtime.logs import logger

# SendTaskFailure: https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskFailure.html
_MOST_ERROR_CHARACTERS = 256
_MOST_CAUSE_CHARACTERS = 32_768

# What statemachine.asl.json goes on after with the next attempt, taking its input from the cause.
_ATTEMPT_ENDED = "AttemptEnded"

_NAMES_OF_STEP_FUNCTIONS = re.compile(r"States\..*", re.DOTALL)

# Those and what statemachine.asl.json goes on after: a service that sends one must not be notified again.
RESERVED_NAMES = re.compile(
    r"(States|Lambda|Sandbox|Runtime)\..*|AttemptEnded|AwsCallFailed|Contended|NotificationUndelivered",
    re.DOTALL,
)

MOST_BYTES = {"state": 64 * 1024, "summary": 1024}
"""How large the fields of a result may be, in bytes of UTF-8."""

_RESULT_FIELDS = ("summary", "state", "error", "cause", "reason", "correlation_id", "progress")

type Signal = Literal["sent", "task over"]


def record_outcome(
    record: Execution,
    status: str,
    result: dict[str, Any],
    now_ms: int,
    overdue_before: int | None = None,
    attempt: int | None = None,
) -> Execution | None:
    """Writes the outcome, if the execution is still running; None if it has ended already.

    ``record`` is the execution as it was read: what has ended is overdue from its end on at the latest, for
    the reaper to find, should nobody settle it.
    ``result`` may hold summary, state, error (any JSON value), cause, reason, correlation_id and progress.
    With ``overdue_before``, seconds since 1970, None also if its ``lock_expires_at`` is not before that;
    with ``attempt``, if that attempt has ended.
    """
    stored = stored_result(result)
    sets = ["#status = :status", "finished_at_ms = :now", "lock_expires_at = :overdue"]
    sets += [f"{_placeholder(name)} = :{name}" for name in stored]
    overdue_from = min(record["lock_expires_at"], now_ms // 1000)
    values = {":status": status, ":now": now_ms, ":overdue": overdue_from, ":running": executions.RUNNING}
    values |= {f":{name}": value for name, value in stored.items()}
    condition = "#status = :running"
    if attempt is not None:
        condition, current = executions.is_at_attempt(attempt)
        values |= current
    if overdue_before is not None:
        condition += " AND lock_expires_at < :overdue_before"
        values[":overdue_before"] = overdue_before
    return executions.update_if(record["execution_id"], f"SET {', '.join(sets)}", condition, values)


def stored_result(result: dict[str, Any]) -> dict[str, Any]:
    """A result in the form in which the record keeps it: ``error`` as JSON text, whatever it is."""
    stored = {name: result[name] for name in _RESULT_FIELDS if name in result}
    if "error" in stored:
        stored["error"] = json.dumps(stored["error"], ensure_ascii=False)
    return stored


def signal(record: Execution) -> Signal:
    """Tells Step Functions how the execution, or the attempt, ended; repeatable.

    ``task over`` if nobody waits any more, or if the attempt that was waited for has begun already.
    """
    client = step_functions()
    token = record["task_token"]
    try:
        if record["status"] == executions.RUNNING:
            if not attempts.is_waited_for(record):
                return "task over"
            cause = json.dumps(machine_input(record))
            client.send_task_failure(taskToken=token, error=_ATTEMPT_ENDED, cause=cause)
        elif record["status"] in ("success", "skipped"):
            client.send_task_success(taskToken=token, output=json.dumps({"status": record["status"]}))
        else:
            error, cause = _error_and_cause(record, RESERVED_NAMES)
            client.send_task_failure(taskToken=token, error=error, cause=cause)
    except (client.exceptions.TaskTimedOut, client.exceptions.TaskDoesNotExist):
        logger.info("nobody waits for this execution any more")
        return "task over"
    return "sent"


def error_and_cause(record: Execution) -> tuple[str, str]:
    """What an execution that did not succeed shows in Step Functions.

    A service's error that is a string names itself; an object may have a ``name``. Names that begin with
    ``States.`` are Step Functions' own and accepted from nobody, so they are moved to the cause.
    """
    return _error_and_cause(record, _NAMES_OF_STEP_FUNCTIONS)


def _error_and_cause(record: Execution, reserved: re.Pattern[str]) -> tuple[str, str]:
    error = json.loads(record["error"]) if "error" in record else None
    named = error.get("name") if isinstance(error, dict) else error
    is_usable = isinstance(named, str) and bool(named) and not reserved.fullmatch(named)
    name = str(named) if is_usable else f"Job.{record['status'].capitalize()}"
    details = record.get("cause") or record.get("summary")
    if isinstance(error, dict) or not is_usable or len(name) > _MOST_ERROR_CHARACTERS or not details:
        details = "; ".join(filter(None, (details, error if isinstance(error, str) else _text(error))))
    return name[:_MOST_ERROR_CHARACTERS], details[:_MOST_CAUSE_CHARACTERS]


def _text(error: Any) -> str:
    return "" if error is None else json.dumps(error, ensure_ascii=False)


def _placeholder(name: str) -> str:
    return f"#{name}" if name in ("state", "error") else name
