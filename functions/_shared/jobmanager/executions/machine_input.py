"""What is passed from state to state of an execution's machine.

Ids, numbers and times only: Step Functions' history keeps what passes through it.
"""

from typing import Any

from jobmanager.executions import attempts
from jobmanager.executions.store import RUNNING, Execution

_PASSED = (
    "service_name",
    "job_name",
    "job_guid",
    "execution_id",
    "scheduled_time",
    "started_at_ms",
    "status",
    "fencing_token",
)

# What a skipped execution passes on where Step Functions wants limits: it waits for nothing.
_NO_WAIT = {"ttl_seconds": 60, "heartbeat_seconds": 60, "max_duration_seconds": 120, "timeout_seconds": 120}

# Of a sync job, notify_service itself waits for the answer; this is for the case that it dies. The lock
# outlasts that wait by the time that it takes to resolve the target and to record its answer.
_SYNC_HEARTBEAT_SECONDS = 150
_SYNC_TO_SETTLE_SECONDS = 15


def machine_input(record: Execution) -> dict[str, Any]:
    """What the next attempt needs: who it is, for what it waits, and, if it is not the first, until when."""
    passed = {name: record[name] for name in _PASSED if name in record}
    passed |= {"attempt": attempts.current(record), **_limits(record)}
    if "attempts" in record:
        passed["next_attempt_at"] = attempts.next_attempt_at(record)
    return passed


def _limits(record: Execution) -> dict[str, int]:
    """What Step Functions is to wait for; it wants the heartbeat to be the shorter."""
    if record["status"] != RUNNING:
        return _NO_WAIT
    ttl: int = record["ttl_seconds"]
    longest: int = record["max_duration_seconds"]
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
    """How long the service of an async job may be silent."""
    ttl: int = record["ttl_seconds"]
    own: int | None = record.get("heartbeat_interval_seconds")
    return ttl if own is None else own


def _seconds_before_the_attempt(record: Execution) -> int:
    """How much of the execution's duration earlier attempts and the waits between them have taken."""
    if "attempts" not in record:
        return 0
    begins_at: int = record["attempts"][-1]["next_attempt_at"]
    started_at_ms: int = record["started_at_ms"]
    return begins_at - started_at_ms // 1000
