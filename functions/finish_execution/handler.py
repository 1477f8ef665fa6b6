"""Ends an execution: settles its record, frees its lock, keeps it on its job, tells the subscribers.

Each of these steps may be repeated, and each names the execution in its condition: a late finish of an old
execution changes nothing that belongs to a newer one. The event may be published twice, never not at all.
"""

import json
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from jobmanager import executions, jobs
from jobmanager.clock import now_ms
from jobmanager.errors import ManagerError
from jobmanager.logs import logger
from jobmanager.metrics import count_outcome
from jobmanager.outcome import error_and_cause, stored_result
from jobmanager.steps import step
from jobmanager.subscribers import publish_event

_ON_THE_JOB = (
    "execution_id",
    "scheduled_time",
    "scheduled_time_ms",
    "service_invoked_at_ms",
    "state",
    "status",
    "summary",
)


def finish(execution: dict[str, Any], at_ms: int) -> executions.Execution:
    """Answers the settled record.

    ``execution`` is what begin_execution answered; after a failure, ``status``, ``error`` and ``cause`` say
    how the execution ends if no outcome has been recorded. What was recorded wins.
    """
    record = _settle(execution, at_ms)
    if record["status"] != "skipped":
        finished = {name: record[name] for name in _ON_THE_JOB if name in record}
        jobs.remember(record["service_name"], record["job_name"], finished, "fencing_token" in record)
    publish_event(record, at_ms)
    count_outcome(record)
    logger.info("finished", extra={"status": record["status"]})
    return record


def _settle(execution: dict[str, Any], at_ms: int) -> executions.Execution:
    failed = "error" in execution
    attempts = (_settle_failed, _settle_recorded) if failed else (_settle_recorded, _settle_failed)
    for attempt in (*attempts, _insert_failed):
        if record := attempt(execution, at_ms):
            return record
    raise ManagerError(f"the record of {execution['execution_id']} changed while it was settled")


def _settle_recorded(execution: dict[str, Any], at_ms: int) -> executions.Execution | None:
    """An outcome is recorded: nothing but closing it is left."""
    return executions.update_if(
        execution["execution_id"],
        "SET settled_at_ms = if_not_exists(settled_at_ms, :now), expires_at = :expires"
        " REMOVE open_shard, task_token",
        "attribute_exists(execution_id) AND #status <> :running",
        {":now": at_ms, ":expires": executions.expires_at(at_ms), ":running": executions.RUNNING},
    )


def _settle_failed(execution: dict[str, Any], at_ms: int) -> executions.Execution | None:
    """No outcome is recorded: the machine's own becomes it."""
    status, result = _outcome_of_the_machine(execution)
    return executions.update_if(
        execution["execution_id"],
        "SET #status = :status, #error = :error, cause = :cause, finished_at_ms = :now, settled_at_ms = :now,"
        " expires_at = :expires REMOVE open_shard, task_token",
        "#status = :running",
        {
            ":status": status,
            ":error": result["error"],
            ":cause": result["cause"],
            ":now": at_ms,
            ":expires": executions.expires_at(at_ms),
            ":running": executions.RUNNING,
        },
    )


def _insert_failed(execution: dict[str, Any], at_ms: int) -> executions.Execution | None:
    """The execution failed before it had a record: its history shows it all the same."""
    status, result = _outcome_of_the_machine(execution)
    record = executions.new_record(execution, None, at_ms)
    record |= {"status": status, **result, "finished_at_ms": at_ms, "settled_at_ms": at_ms}
    return record if executions.insert(record) else None


def _outcome_of_the_machine(execution: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A machine that went on without an error or an outcome was told so by hand, past the callback."""
    if "error" not in execution:
        cause = "the task was ended, but no outcome was recorded"
        return "fail", stored_result({"error": "Manager.NoOutcome", "cause": cause})
    error = execution["error"].replace("States.", "Manager.", 1)
    return execution["status"], stored_result({"error": error, "cause": _message(execution.get("cause", ""))})


def _message(cause: str) -> str:
    """A function that failed gives its error as JSON, with a stack trace that is nobody's business."""
    try:
        message = json.loads(cause)["errorMessage"]
    except (ValueError, TypeError, KeyError):
        return cause
    return str(message)


def for_the_state_machine(record: executions.Execution) -> dict[str, Any]:
    """How it ended; with the job's error and cause where it did not end well."""
    answer = {"execution_id": record["execution_id"], "status": record["status"]}
    if record["status"] in ("success", "skipped"):
        return answer
    error, cause = error_and_cause(record)
    return {**answer, "error": error, "cause": cause}


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Input as :func:`finish` has it."""
    return for_the_state_machine(finish(event, now_ms()))
