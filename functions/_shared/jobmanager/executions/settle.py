"""The end of an execution, in this order: its outcome, its lock and its job's memory, its event, its closing.

An execution stays open, in the index ``open``, until all of that is done. If a function dies on the way, the
next attempt goes on, and at last reap_executions. Each part is safe to repeat, and each names the execution
in its condition: a late finish of an old execution changes nothing that belongs to a newer one. The event is
published at least once, and not again once the record is closed.
"""

import json
from typing import Any, NotRequired, cast

from jobmanager.core.errors import ManagerError
from jobmanager.core.mappings import picked
from jobmanager.executions import attempts, store
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.events import publish_event
from jobmanager.executions.failure_streak import count_in_streak
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.metrics import count_outcome
from jobmanager.executions.outcome import error_and_cause, record_outcome, stored_result
from jobmanager.executions.record import RUNNING, Due, Execution, Result, Status, expires_at, unbegun_record
from jobmanager.jobs.definition import LastExecution
from jobmanager.jobs.last_execution import remember
from jobmanager.runtime.logs import logger

# Errors of the manager itself, after which another attempt would not help.
_OF_THE_MANAGER = "Manager."

_ON_THE_JOB = (
    "execution_id",
    "scheduled_time",
    "scheduled_time_ms",
    "service_invoked_at_ms",
    "state",
    "status",
    "summary",
)


class Finishing(Due):
    """What the state machine knows at an execution's end; after a failure also how its ``attempt`` ends."""

    attempt: NotRequired[int]
    status: NotRequired[Status]
    error: NotRequired[str]
    cause: NotRequired[str]


def finish(execution: Finishing, at_ms: int) -> Execution:
    """Sees to it that an outcome is recorded, and settles it; returns the record.

    A recorded outcome wins over what the machine says. The record is still ``running`` if another attempt
    follows; then there is nothing to settle yet.
    """
    record = _with_an_outcome(execution, at_ms)
    is_done = record["status"] == RUNNING or "settled_at_ms" in record
    return record if is_done else settle(record, at_ms)


def settle(record: Execution, at_ms: int) -> Execution:
    """Does all that follows from an outcome, and closes the record; returns it as it is then.

    ``record`` has an outcome, and was not closed when it was read.
    """
    if record["status"] != "skipped":
        finished = cast(LastExecution, picked(record, _ON_THE_JOB))
        job = remember(record["service_name"], record["job_name"], finished, "fencing_token" in record)
        count_in_streak(job, record, at_ms)
    publish_event(record, at_ms)
    count_outcome(record)
    logger.info("finished", extra={"status": record["status"], **_error_of(record)})
    return _close(record, at_ms)


def for_the_state_machine(record: Execution) -> dict[str, Any]:
    """How the execution ended, with error and cause if it failed; or what the next attempt needs."""
    if record["status"] == RUNNING:
        return machine_input(record)
    answer = {"execution_id": record["execution_id"], "status": record["status"]}
    if record["status"] in ("success", "skipped"):
        return answer
    error, cause = error_and_cause(record)
    return {**answer, "error": error, "cause": cause}


def _error_of(record: Execution) -> dict[str, str]:
    """Only the error's name: what else a service says of it may be for nobody else."""
    return {} if record["status"] in ("success", "skipped") else {"error": error_and_cause(record)[0]}


def _close(record: Execution, at_ms: int) -> Execution:
    closed = store.update_if(
        record["execution_id"],
        "SET settled_at_ms = :now, expires_at = :expires REMOVE open_shard, task_token",
        "attribute_exists(execution_id) AND attribute_not_exists(settled_at_ms)",
        {":now": at_ms, ":expires": expires_at(at_ms)},
    )
    # Another was first, or the record's retention is over.
    return closed or store.find(record["execution_id"]) or record


def _with_an_outcome(execution: Finishing, at_ms: int) -> Execution:
    """The record with its outcome; if it has none, with the machine's. A missing record is made."""
    record = store.find(execution["execution_id"])
    if record is not None and _has_ended(record, execution):
        return record
    status, result = _outcome_of_the_machine(execution)
    if record is None:
        # It failed before it had a record: its history shows it all the same.
        record = unbegun_record(execution, status, stored_result(result), at_ms)
        if store.insert(record):
            return record
        return _with_an_outcome(execution, at_ms)
    if result["error"].startswith(_OF_THE_MANAGER):
        recorded = record_outcome(record, status, result, at_ms)
    else:
        recorded = end_attempt(record, status, result, at_ms)
    recorded = recorded or store.find(execution["execution_id"])
    if recorded is None:
        raise ManagerError(f"the record of {execution['execution_id']} vanished while it was settled")
    return recorded


def _has_ended(record: Execution, execution: Finishing) -> bool:
    """Whether the execution has ended, or the attempt that failed: without a failure no other follows."""
    if record["status"] != RUNNING:
        return True
    return "error" in execution and attempts.current(record) > execution.get("attempt", 1)


def _outcome_of_the_machine(execution: Finishing) -> tuple[Status, Result]:
    """A machine that went on without an error or an outcome was told so by hand, past the callback."""
    if "error" not in execution:
        cause = "the task was ended, but no outcome was recorded"
        return "fail", {"error": "Manager.NoOutcome", "cause": cause}
    error = execution["error"].replace("States.", "Manager.", 1)
    return execution["status"], {"error": error, "cause": _message(execution.get("cause", ""))}


def _message(cause: str) -> str:
    """The message of a function's error: Lambda gives JSON, with a stack trace that is not for callers."""
    try:
        message = json.loads(cause)["errorMessage"]
    except (ValueError, TypeError, KeyError):
        return cause
    return str(message)
