"""The data that passes between the states of an execution's state machine.

It holds only ids, numbers and times, because Step Functions' history stores it.
"""

from typing import Any

from jobmanager.core.mappings import picked
from jobmanager.executions import attempts
from jobmanager.executions.record import RUNNING, Execution
from jobmanager.executions.time_limits import NO_WAIT_AT_MOST_SECONDS, NO_WAIT_SECONDS, Limits, limits
from jobmanager.jobs.timing import schedule_key

_PASSED = (
    "service_name",
    "job_name",
    "job_guid",
    "execution_id",
    "scheduled_time",
    "started_at_ms",
    "job_created_at",
    "status",
    "fencing_token",
)

_NO_WAIT: Limits = {
    "ttl_seconds": NO_WAIT_SECONDS,
    "heartbeat_seconds": NO_WAIT_SECONDS,
    "max_duration_seconds": NO_WAIT_AT_MOST_SECONDS,
    "timeout_seconds": NO_WAIT_AT_MOST_SECONDS,
}


def machine_input(record: Execution) -> dict[str, Any]:
    """Builds the input of the next attempt: ids, limits and, from the second on, when it begins."""
    passed = picked(record, _PASSED)
    passed |= {"attempt": attempts.current(record), **_limits(record)}
    if "schedule" in record:
        passed["schedule"] = schedule_key(record)
    if "attempts" in record:
        passed["next_attempt_at"] = attempts.next_attempt_at(record)
    return passed


def _limits(record: Execution) -> Limits:
    """Returns how long Step Functions waits. Its heartbeat limit must be shorter than its timeout."""
    if record["status"] != RUNNING:
        return _NO_WAIT
    of_job = limits(record)
    longest = of_job["max_duration_seconds"] - _seconds_before_the_attempt(record)
    return {**of_job, "timeout_seconds": max(longest, of_job["heartbeat_seconds"] + 1)}


def _seconds_before_the_attempt(record: Execution) -> int:
    """Returns how long earlier attempts and the waits between them have taken."""
    if "attempts" not in record:
        return 0
    return record["attempts"][-1]["next_attempt_at"] - record["started_at_ms"] // 1000
