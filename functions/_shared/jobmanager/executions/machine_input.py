"""The data that passes between the states of an execution's state machine.

It holds only ids, numbers and times, because Step Functions' history stores it.
"""

from typing import Any

from jobmanager.core.mappings import picked
from jobmanager.executions import attempts
from jobmanager.executions.record import RUNNING, Execution

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

# A skipped execution waits for nothing, but Step Functions requires limits.
_NO_WAIT = {"ttl_seconds": 60, "heartbeat_seconds": 60, "max_duration_seconds": 120, "timeout_seconds": 120}

# The limit of a sync job's task. notify_service itself waits for the answer, so this applies only if it dies.
_SYNC_HEARTBEAT_SECONDS = 150
# How much longer than ttl_seconds a sync job's lock is held: to resolve the target and to record the answer.
_SYNC_TO_SETTLE_SECONDS = 15


def machine_input(record: Execution) -> dict[str, Any]:
    """Builds the input of the next attempt: ids, limits and, from the second on, when it begins."""
    passed = picked(record, _PASSED)
    passed |= {"attempt": attempts.current(record), **_limits(record)}
    if "attempts" in record:
        passed["next_attempt_at"] = attempts.next_attempt_at(record)
    return passed


def _limits(record: Execution) -> dict[str, int]:
    """Returns how long Step Functions waits. Its heartbeat limit must be shorter than its timeout."""
    if record["status"] != RUNNING:
        return _NO_WAIT
    ttl = record["ttl_seconds"]
    longest = record["max_duration_seconds"]
    heartbeat = heartbeat_seconds(record)
    if not record["async"]:
        ttl, heartbeat = ttl + _SYNC_TO_SETTLE_SECONDS, _SYNC_HEARTBEAT_SECONDS
        longest = max(longest, heartbeat + 1)
    return {
        "ttl_seconds": ttl,
        "heartbeat_seconds": heartbeat,
        "max_duration_seconds": longest,
        "timeout_seconds": max(longest - _seconds_before_the_attempt(record), heartbeat + 1),
    }


def heartbeat_seconds(record: Execution) -> int:
    """Returns how long the service of an async job may be silent."""
    return record.get("heartbeat_interval_seconds", record["ttl_seconds"])


def _seconds_before_the_attempt(record: Execution) -> int:
    """Returns how long earlier attempts and the waits between them have taken."""
    if "attempts" not in record:
        return 0
    return record["attempts"][-1]["next_attempt_at"] - record["started_at_ms"] // 1000
