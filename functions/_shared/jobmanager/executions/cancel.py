"""Cancels an execution that runs or waits.

The outcome is recorded first, so later callbacks get 410. Then the execution is settled, and the waiting task
is signalled. If no task waits, the state machine is stopped before. No task waits before the first
notification, between two attempts, and after the state machine has ended. An Express machine has no such
task, cannot be stopped, and ends by itself: its function finds that the execution has ended.

Safe to repeat: each part is done again. The state machine or reap_executions completes what is left undone.
"""

from typing import Any

from jobmanager.api.fields import reason, refuse_unknown
from jobmanager.core.errors import Conflict, Contended
from jobmanager.core.retry import tries
from jobmanager.executions import attempts, store
from jobmanager.executions.machine import stop_machine
from jobmanager.executions.outcome import error_and_cause, record_outcome
from jobmanager.executions.record import RUNNING, WAITING, Execution, is_express, is_open
from jobmanager.executions.settle import settle
from jobmanager.executions.task_signal import signal
from jobmanager.executions.waiting import end_waiting

_MAX_TRIES = 5


def cancel(execution: Execution, cause: str, at_ms: int) -> Execution:
    """Cancels the execution and returns its record; raises Conflict if it has ended in another way."""
    ended = _ended(execution, cause, at_ms)
    if ended["status"] != "cancelled":
        raise nothing_to_cancel(ended)
    if not is_open(ended):
        return ended
    waits = "task_token" in ended and not attempts.is_between_attempts(ended)
    if not waits:
        _stop(ended)
        return settle(ended, at_ms)
    return settle(ended, at_ms, lambda: _end_task(ended))


def _ended(execution: Execution, cause: str, at_ms: int) -> Execution:
    """Records the cancellation, whether the execution runs or waits; returns the record, however it ended."""
    for _ in tries(_MAX_TRIES):
        if execution["status"] == WAITING:
            ended = end_waiting(execution, "cancelled", {"cause": cause}, at_ms)
        else:
            ended = record_outcome(execution, "cancelled", {"cause": cause}, at_ms)
        execution = ended or store.find(execution["execution_id"]) or execution
        if execution["status"] not in (RUNNING, WAITING):
            return execution
    raise Contended(f"{execution['execution_id']} is being changed by others.")


def nothing_to_cancel(ended: Execution) -> Conflict:
    """Returns the refusal to cancel an execution that has ended in another way."""
    return Conflict(
        f"The execution has ended as {ended['status']}; there is nothing to cancel.",
        execution_status=ended["status"],
    )


def _end_task(ended: Execution) -> None:
    if signal(ended) == "task over":
        _stop(ended)


def _stop(ended: Execution) -> None:
    # One that was cancelled while it waited has no machine.
    if not is_express(ended) and "lock_expires_at" in ended:
        stop_machine(ended, *error_and_cause(ended))


def cause_of(body: dict[str, Any], cancelled_by: str) -> str:
    """Builds the cause for the record: who cancels, and why. Raises BadRequest."""
    refuse_unknown(body, ("reason",))
    return f"cancelled by {cancelled_by}: {reason(body.get('reason', 'no reason given'))}"
