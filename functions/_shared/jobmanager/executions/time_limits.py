"""How long Step Functions waits for the service of an execution.

A tick passes these limits to the state machine, from the index ``due``, before the execution begins. The
record has the job as it was when the execution began, so the limits of the record are the valid ones.
"""

from collections.abc import Mapping
from typing import Any, TypedDict, cast

from jobmanager.core.mappings import picked

# A skipped execution waits for nothing, but Step Functions requires limits.
NO_WAIT_SECONDS = 60
NO_WAIT_AT_MOST_SECONDS = 120

# The limit of a sync job's task. run_execution itself waits for the answer, so this applies only if it dies.
_SYNC_HEARTBEAT_SECONDS = 150
# How much longer than ttl_seconds a sync job's lock is held: to resolve the target and to record the answer.
_SYNC_TO_SETTLE_SECONDS = 15

FIELDS_OF_A_JOB = ("ttl_seconds", "heartbeat_interval_seconds", "max_duration_seconds", "async")
"""The fields of a job on which the limits depend. The index ``due`` projects them."""


class TaskLimits(TypedDict):
    """HeartbeatSeconds and TimeoutSeconds of the waiting task, and how long its execution may last."""

    heartbeat_seconds: int
    timeout_seconds: int
    max_duration_seconds: int


class Limits(TaskLimits):
    """The limits of a first attempt."""

    ttl_seconds: int


def limits(job: Mapping[str, Any]) -> Limits:
    """Returns the limits of a job, or of a record. The limit for heartbeats must be the shorter one."""
    ttl, longest = job["ttl_seconds"], job["max_duration_seconds"]
    heartbeat = silence_seconds(job)
    if not job["async"]:
        ttl, heartbeat = ttl + _SYNC_TO_SETTLE_SECONDS, _SYNC_HEARTBEAT_SECONDS
        longest = max(longest, heartbeat + 1)
    return {
        "ttl_seconds": ttl,
        "heartbeat_seconds": heartbeat,
        "max_duration_seconds": longest,
        "timeout_seconds": max(longest, heartbeat + 1),
    }


def task_limits(job: Mapping[str, Any]) -> TaskLimits:
    """Returns the limits that the waiting task of a first attempt has."""
    return cast(TaskLimits, picked(limits(job), TaskLimits.__annotations__))


def silence_seconds(job: Mapping[str, Any]) -> int:
    """Returns how long the service of an async job may be silent."""
    seconds: int = job.get("heartbeat_interval_seconds", job["ttl_seconds"])
    return seconds
