"""Frees the slot of an ended execution, and has the executions started that wait for the slot or the lock.

Only start_waiting_executions needs the rights to start them. The functions that end executions invoke it
asynchronously, and only if an execution waits. It reads the queue itself, so a repeated invocation starts
nothing twice. If a function dies before the invocation, its retry or the sweep settles the execution again,
and invokes start_waiting_executions then.
"""

from jobmanager.executions.record import Execution
from jobmanager.jobs import lock
from jobmanager.jobs.definition import Job
from jobmanager.limits import store as limits
from jobmanager.limits.definition import waiting_count
from jobmanager.limits.waiting import ask_for_starts, ask_for_turns


def is_or_was_waiting(record: Execution) -> bool:
    """Whether the execution waits, or has waited before it ran or ended."""
    return "waiting_since_ms" in record


def free_for_others(record: Execution, job: Job | None, at_ms: int) -> None:
    """Frees the slot of an ended execution, and asks for the executions that wait for it or for the lock.

    ``job``: the job as it was read or written after the lock was freed. Safe to repeat.
    """
    service_name, job_name = record["service_name"], record["job_name"]
    is_waited_for = "fencing_token" in record and job is not None and job.get("waiting_count", 0) > 0
    if job is not None and is_waited_for and lock.holder(job, "", at_ms) is None:
        ask_for_turn_of_lock(service_name, job_name)
    if record.get("holds_slot"):
        limit = limits.free(service_name, record["limit"], record["execution_id"])
        if limit is not None and waiting_count(limit):
            ask_for_starts(service_name, record["limit"])


def ask_for_turn(record: Execution) -> None:
    """Asks that a waiting execution, or one before it in its queue, is started if its turn has come."""
    if record["waits_for"] == "lock":
        ask_for_turn_of_lock(record["service_name"], record["job_name"])
    elif record["waits_for"] == "slot":
        ask_for_starts(record["service_name"], record["limit"])
    else:
        ask_for_turn_at_its_time(record["execution_id"])


def ask_for_turn_of_lock(service_name: str, job_name: str) -> None:
    """Asks for the executions that wait for the lock of a job."""
    ask_for_turns({"service_name": service_name, "job_name": job_name})


def ask_for_turn_at_its_time(execution_id: str) -> None:
    """Asks for an execution that waits for its time."""
    ask_for_turns({"execution_id": execution_id})
