"""Settles an execution, which takes these steps.

1. record the outcome
2. store it on the job as the last execution, and free the lock and the slot; if somebody waits for
   them, ask that it is started
3. count it in the job's failure streak, unless the manager failed
4. have the jobs started that run after this one, if there are any
5. publish the event
6. end the task that waits for the execution, if one does
7. close the record
8. count the outcome in the metrics, if this call closed the record

The function that records the outcome also does the other steps (:mod:`jobmanager.executions.end_task`).
finish_execution does them if the state machine reports a failure, or if the other function could not. The
record stays in the index ``sweep`` until it is closed. If a function dies half way, its retry completes the
steps, or in the end reap_executions does. Each step is safe to repeat, and its condition names the
execution, so the late end of an old execution changes nothing that belongs to a newer one. The event is
published at least once, and not again once the record is closed. The outcome is counted at most once: a
function that dies between steps 7 and 8 leaves it uncounted. A skip at begin has none of these steps: see
:func:`jobmanager.executions.skip.publish_skip`.
"""

import json
from collections.abc import Callable
from typing import Any, NotRequired, cast

from jobmanager.core.clock import iso
from jobmanager.core.errors import AnswerNotRecorded, ManagerError, NotificationUndelivered
from jobmanager.core.mappings import picked
from jobmanager.executions import attempts, store
from jobmanager.executions.children import have_children_started
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.events import publish_event
from jobmanager.executions.failure_streak import count_in_streak
from jobmanager.executions.handing_over import free_for_others, is_or_was_waiting
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.metrics import count_outcome
from jobmanager.executions.moved import due_once_more
from jobmanager.executions.outcome import error_and_cause, record_outcome, stored_result
from jobmanager.executions.record import (
    RUNNING,
    WAITING,
    Due,
    Execution,
    Result,
    Status,
    expires_at,
    is_express,
    is_open,
    is_skipped_at_begin,
    unbegun_record,
)
from jobmanager.executions.skip import publish_skip
from jobmanager.executions.time_limits import NO_WAIT_AT_MOST_SECONDS, NO_WAIT_SECONDS, TaskLimits
from jobmanager.jobs import lock
from jobmanager.jobs.definition import LastExecution
from jobmanager.jobs.last_execution import record_last_execution
from jobmanager.runtime.logs import logger

# Errors of the manager itself, after which another attempt would not help.
_MANAGER_PREFIX = "Manager."
# Nor is the service called again if it has done its work, but its answer could not be recorded.
_FINAL = AnswerNotRecorded.__name__

_LAST_EXECUTION_FIELDS = (
    "execution_id",
    "scheduled_time",
    "scheduled_time_ms",
    "service_invoked_at_ms",
    "finished_at_ms",
    "fencing_token",
    "state",
    "status",
    "summary",
)


class FinishInput(Due):
    """The input of finish_execution: the input of the failed state, and how its task ended.

    A machine of the version before also invokes it after a success, without ``error``.
    """

    attempt: NotRequired[int]
    machine_execution: NotRequired[str]
    is_begun_again: NotRequired[bool]
    status: NotRequired[Status]
    error: NotRequired[str]
    cause: NotRequired[str]


# The limits of a task that begins once more. They are long enough for any cold start. run_execution then
# finds that they are not those of the job, and corrects them before it notifies the service.
_PATIENT = TaskLimits(
    heartbeat_seconds=NO_WAIT_SECONDS,
    timeout_seconds=NO_WAIT_AT_MOST_SECONDS,
    max_duration_seconds=NO_WAIT_AT_MOST_SECONDS,
)


def finish_and_continue(execution: FinishInput, at_ms: int) -> dict[str, Any]:
    """Finishes an execution as :func:`finish` does; returns the :func:`machine_output`.

    A task may time out before its execution has begun: the limits of its job are short, and the function was
    slow. Then it begins once more.
    """
    if execution.get("status") == "timeout" and "is_begun_again" not in execution:
        named, record = _found(execution)
        if record is None:
            again = {**picked(named, Due.__annotations__), **_PATIENT, "is_begun_again": True}
            return {**again, "status": RUNNING, "next_attempt_at": execution["scheduled_time"]}
    finished = finish(execution, at_ms)
    if _has_waited(finished, execution):
        return {"execution_id": finished["execution_id"], "status": WAITING}
    return machine_output(finished)


def finish(execution: FinishInput, at_ms: int) -> Execution:
    """Records the outcome if none is recorded, settles the execution, and returns the record.

    A recorded outcome wins over the one that the state machine reports. If another attempt follows, the
    record is still ``running``, and nothing is settled yet. The record also stays ``running`` if the
    notification seemed undelivered but a heartbeat came. Then the state machine waits again. An execution
    that had to wait is left as it is.
    """
    record = _ensure_outcome(execution, at_ms)
    if _has_waited(record, execution):
        return record
    if is_skipped_at_begin(record):
        record = publish_skip(record, at_ms)
    is_done = record["status"] == RUNNING or not is_open(record)
    return record if is_done else settle(record, at_ms)


def settle(record: Execution, at_ms: int, end_task: Callable[[], object] | None = None) -> Execution:
    """Does all steps after the first, and returns the closed record.

    ``end_task`` does step 6; None if no task waits. ``record`` must have an outcome, and must not have been
    closed when it was read.
    """
    job = None
    if record["status"] == "skipped":
        if "fencing_token" in record:
            job = lock.free(record["service_name"], record["job_name"], record["execution_id"])
        free_for_others(record, job, at_ms)
    else:
        finished = cast(LastExecution, picked(store.whole(record, "state"), _LAST_EXECUTION_FIELDS))
        job = record_last_execution(
            record["service_name"], record["job_name"], finished, "fencing_token" in record
        )
        free_for_others(record, job, at_ms)
        if "fault" not in record:
            count_in_streak(job, record, at_ms)
        have_children_started(job, record)
    publish_event(record, at_ms, job)
    if end_task is not None:
        end_task()
    closed = _close(record, at_ms)
    if closed is None:
        # Another function closed it first, and counts it; or its retention has ended.
        return store.find(record["execution_id"]) or record
    count_outcome(closed)
    extra = {"status": closed["status"], "fault": _fault_of(closed), **_error_of(closed)}
    logger.info("execution finished", extra=extra)
    return closed


def _has_waited(record: Execution, execution: FinishInput) -> bool:
    """Whether the machine that failed has left the execution to wait, so that it is no longer its own.

    A machine that runs an execution after its turn has come got ``started_at_ms`` as it was started.
    """
    return is_or_was_waiting(record) and "started_at_ms" not in execution


def machine_output(record: Execution) -> dict[str, Any]:
    """Builds the output of finish_execution: how the execution ended, or the input of the next attempt.

    An attempt that continues has no ``next_attempt_at``, but the state machine needs a time, so this uses one
    in the past.
    """
    if record["status"] == RUNNING:
        return {"next_attempt_at": iso(record["started_at_ms"]), **machine_input(record)}
    output = {"execution_id": record["execution_id"], "status": record["status"]}
    if record["status"] in ("success", "skipped"):
        return output
    error, cause = error_and_cause(record)
    return {**output, "error": error, "cause": cause}


def _error_of(record: Execution) -> dict[str, str]:
    """Returns the name of the error, for the log. The rest of what a service reports may be confidential."""
    return {} if record["status"] in ("success", "skipped") else {"error": error_and_cause(record)[0]}


def _fault_of(record: Execution) -> str | None:
    """Returns whose fault a failure is, for the log."""
    return record.get("fault", "service") if record["status"] in ("fail", "timeout") else None


def _close(record: Execution, at_ms: int) -> Execution | None:
    """Closes the record and returns it as updated; None if it is closed already, or gone."""
    return store.update_if(
        record["execution_id"],
        "SET settled_at_ms = :now, expires_at = :expires"
        " REMOVE sweep_shard, sweep_at, open_shard, task_token, machine_execution",
        "attribute_exists(execution_id) AND attribute_not_exists(settled_at_ms)",
        {":now": at_ms, ":expires": expires_at(at_ms)},
    )


def _ensure_outcome(execution: FinishInput, at_ms: int) -> Execution:
    """Returns the record, with an outcome; records that of the state machine if there is none.

    If there is no record, it is created.
    """
    execution, record = _found(execution)
    if record is not None and _has_waited(record, execution):
        return record
    if record is not None and (_has_ended(record, execution) or _is_run_by_another(record, execution)):
        return record
    if record is not None and is_express(record) and attempts.is_delivered(record):
        return record  # the service works, and needs no machine
    status, result = _machine_outcome(execution)
    if record is None:
        # It failed before it had a record. The new record makes it visible in the history.
        status, result = "fail", _not_begun(result)
        record = unbegun_record(execution, status, stored_result(result), at_ms)
        if store.insert(record):
            return record
        return _ensure_outcome(execution, at_ms)
    # Since the record was read, another Express machine may have taken over, or a heartbeat may have come.
    run_by = execution.get("machine_execution")
    unless_delivered = is_express(record) or result["error"] == NotificationUndelivered.__name__
    if result["error"].startswith(_MANAGER_PREFIX) or result["error"] == _FINAL:
        attempt = attempts.current(record)
        recorded = record_outcome(record, status, result, at_ms, None, attempt, unless_delivered, run_by)
    elif "service_invoked_at_ms" not in record:
        # Lambda had no capacity for run_execution, or the function failed. Another attempt may succeed.
        unnotified = attempts.not_notified(record, f"{result['error']}: {result['cause']}")
        recorded = end_attempt(record, "fail", unnotified, at_ms, None, unless_delivered, run_by)
    else:
        recorded = end_attempt(record, status, result, at_ms, None, unless_delivered, run_by)
    recorded = recorded or store.find(execution["execution_id"])
    if recorded is None:
        raise ManagerError(f"the record of {execution['execution_id']} was deleted while it was settled")
    return recorded


def _found(execution: FinishInput) -> tuple[FinishInput, Execution | None]:
    """Reads the record. Returns the input with the name of the record, which differs if the job has moved.

    After a skip, a machine of the version before passes on the schedule of the record, not that of the tick.
    """
    record = store.find(execution["execution_id"])
    is_failed = "error" in execution
    moved = due_once_more(execution, record) if record is not None and is_failed else None
    if moved is None:
        return execution, record
    return cast(FinishInput, moved), store.find(moved["execution_id"])


def _not_begun(result: Result) -> Result:
    error, cause = result["error"], result["cause"]
    if error == "Manager.ExecutionNotBegun":  # as a machine of the version before reports it
        return result
    return {"error": "Manager.ExecutionNotBegun", "cause": f"{error}: {cause}", "fault": "manager"}


def _has_ended(record: Execution, execution: FinishInput) -> bool:
    """Whether an outcome is recorded already: of the execution, or of the attempt that failed."""
    if record["status"] != RUNNING:
        return True
    return "error" in execution and attempts.current(record) > execution.get("attempt", 1)


def _is_run_by_another(record: Execution, execution: FinishInput) -> bool:
    """Whether another machine execution runs the attempt: of a Standard machine, or of an Express one.

    A name may be used by several of an Express machine, and by both kinds if the job has changed.
    """
    mine = execution.get("machine_execution")
    if (mine is not None) != is_express(record):
        return True
    return mine is not None and record.get("machine_execution", mine) != mine


def _machine_outcome(execution: FinishInput) -> tuple[Status, Result]:
    """Returns the outcome that the state machine reports.

    Without an error and without a recorded outcome, a person ended the task by hand, without a callback.

    A silent or unreachable service is at fault itself. Every other error that the state machine reports is
    the manager's fault: a service reports to its callback, which records the outcome first.
    """
    if "error" not in execution:
        cause = "the task was ended, but no outcome was recorded"
        return "fail", {"error": "Manager.NoOutcome", "cause": cause, "fault": "manager"}
    error = execution["error"].replace("States.", "Manager.", 1)
    result: Result = {"error": error, "cause": _message(execution.get("cause", ""))}
    if execution["status"] != "timeout" and error != NotificationUndelivered.__name__:
        result["fault"] = "manager"
    return execution["status"], result


def _message(cause: str) -> str:
    """Extracts the message from the JSON that Lambda reports. Its stack trace is not for callers."""
    try:
        message = json.loads(cause)["errorMessage"]
    except (ValueError, TypeError, KeyError):
        return cause
    return str(message)
