"""The name under which a job runs that has moved to another schedule which fires at the same time.

A module of its own, because functions that settle executions do not need what begins one.
"""

from jobmanager.core.clock import ms_of_iso
from jobmanager.core.names import execution_id, suffix_of_execution
from jobmanager.executions.record import Due, Execution
from jobmanager.jobs.timing import schedule_key

MOVED = "moved"
"""The suffix of that name."""

AFTER_WAITING = "-w"
"""What the name of its machine has after the execution_id, of 78 characters at most, if it waited."""


def had_moved(record: Execution, schedule: str) -> bool:
    """Whether an execution was skipped because its job had moved to this schedule, given by its key."""
    reason = record.get("reason")
    is_of_a_move = reason is not None and reason["code"] == "schedule_changed"
    return is_of_a_move and "schedule" in record and schedule_key(record) == schedule


def due_once_more(due: Due, record: Execution) -> Due | None:
    """Returns the execution that is due in place of ``record``, which :func:`had_moved`; None if none is.

    The tick of a Standard execution finds that the name is taken. An Express one finds the record instead.
    So does a Standard one if the job was of the other type before.
    """
    is_first = not suffix_of_execution(due["execution_id"])
    if not is_first or "schedule" not in due or not had_moved(record, due["schedule"]):
        return None
    name = execution_id(due["job_guid"], ms_of_iso(due["scheduled_time"]), MOVED)
    return {**due, "execution_id": name}


def machine_names(record: Execution) -> tuple[str, ...]:
    """Returns the names that the Step Functions execution of a Standard execution may have, likelier first.

    The machine of a tick ends if its execution has to wait. Another runs it, under a name of its own.

    A job may have become Standard and moved while its Express execution of that time was skipped. Then the
    tick finds the first name free among Standard machines, and :func:`due_once_more` changes only the name of
    the record.
    """
    identifier = record["execution_id"]
    if "waiting_since_ms" in record:
        return (f"{identifier}{AFTER_WAITING}",)
    before, _, suffix = identifier.rpartition("-")
    return (identifier, before) if suffix == MOVED else (identifier,)
