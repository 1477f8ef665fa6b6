"""The end of an execution, in this order: its outcome, its lock and its job's memory, its event, its closing.

An execution stays open, in the index ``open``, until all of that is done; whoever dies on the way leaves it
to the next attempt, at last to reap_executions. Each part may be repeated, and each names the execution in
its condition: a late finish of an old execution changes nothing that belongs to a newer one. The event may be
published twice, never not at all, and not again once the record is closed.
"""

import json
from typing import Any

from jobmanager.core.errors import ManagerError
from jobmanager.executions import attempts
from jobmanager.executions import store as executions
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.events import publish_event
from jobmanager.executions.failure_streak import tell_of_streak
from jobmanager.executions.metrics import count_outcome
from jobmanager.executions.outcome import error_and_cause, record_outcome, stored_result
from jobmanager.executions.store import Execution
from jobmanager.jobs import store as jobs
from jobmanager.runtime.logs import logger

# The manager's own failures, after which no attempt of the job's would be of use.
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


def finish(execution: dict[str, Any], at_ms: int) -> Execution:
    """Sees to it that an outcome is recorded, and settles it; answers the record.

    ``execution`` is what begin_execution answered; after a failure, ``status``, ``error`` and ``cause`` say
    how its ``attempt`` ends if no end has been recorded. What was recorded wins. The record is still
    ``running`` if another attempt follows; then there is nothing to settle yet.
    """
    record = _with_an_outcome(execution, at_ms)
    is_done = record["status"] == executions.RUNNING or "settled_at_ms" in record
    return record if is_done else settle(record, at_ms)


def settle(record: Execution, at_ms: int) -> Execution:
    """Does all that an outcome brings about, and closes the record; answers it as it is then.

    ``record`` is one with an outcome that was not closed when it was read.
    """
    if record["status"] != "skipped":
        finished = {name: record[name] for name in _ON_THE_JOB if name in record}
        names = (record["service_name"], record["job_name"])
        job = jobs.remember(*names, finished, "fencing_token" in record)
        tell_of_streak(job, record, at_ms)
    publish_event(record, at_ms)
    count_outcome(record)
    logger.info("finished", extra={"status": record["status"], **_error_of(record)})
    return _close(record, at_ms)


def _error_of(record: Execution) -> dict[str, str]:
    """Its name only: what else a service tells of it may be for nobody else."""
    return {} if record["status"] in ("success", "skipped") else {"error": error_and_cause(record)[0]}


def _close(record: Execution, at_ms: int) -> Execution:
    closed = executions.update_if(
        record["execution_id"],
        "SET settled_at_ms = :now, expires_at = :expires REMOVE open_shard, task_token",
        "attribute_exists(execution_id) AND attribute_not_exists(settled_at_ms)",
        {":now": at_ms, ":expires": executions.expires_at(at_ms)},
    )
    # Another was first, or the record's retention is over.
    return closed or executions.find(record["execution_id"]) or record


def _with_an_outcome(execution: dict[str, Any], at_ms: int) -> Execution:
    """The record with the end that it has; else with the machine's own, of which it may be made."""
    record = executions.find(execution["execution_id"])
    if record is not None and _has_ended(record, execution):
        return record
    status, result = _outcome_of_the_machine(execution)
    if record is None:
        # It failed before it had a record: its history shows it all the same.
        record = executions.unbegun_record(execution, status, stored_result(result), at_ms)
        if executions.insert(record):
            return record
        return _with_an_outcome(execution, at_ms)
    if result["error"].startswith(_OF_THE_MANAGER):
        recorded = record_outcome(record, status, result, at_ms)
    else:
        recorded = end_attempt(record, status, result, at_ms)
    recorded = recorded or executions.find(execution["execution_id"])
    if recorded is None:
        raise ManagerError(f"the record of {execution['execution_id']} vanished while it was settled")
    return recorded


def _has_ended(record: Execution, execution: dict[str, Any]) -> bool:
    """Whether the execution has, or the attempt that failed: a machine that did not fail makes no other."""
    if record["status"] != executions.RUNNING:
        return True
    return "error" in execution and attempts.current(record) > execution.get("attempt", 1)


def _outcome_of_the_machine(execution: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A machine that went on without an error or an outcome was told so by hand, past the callback."""
    if "error" not in execution:
        cause = "the task was ended, but no outcome was recorded"
        return "fail", {"error": "Manager.NoOutcome", "cause": cause}
    error = execution["error"].replace("States.", "Manager.", 1)
    return execution["status"], {"error": error, "cause": _message(execution.get("cause", ""))}


def _message(cause: str) -> str:
    """A function that failed gives its error as JSON, with a stack trace that is nobody's business."""
    try:
        message = json.loads(cause)["errorMessage"]
    except (ValueError, TypeError, KeyError):
        return cause
    return str(message)
