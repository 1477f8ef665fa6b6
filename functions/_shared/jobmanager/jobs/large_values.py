"""The large values of a job: its payload and its last successful state, each in an item beside the job's.

Both items are in the jobs table, and have the job's key with ``#payload`` or ``#state`` behind its name.
Names contain no ``#``, and the items lack the keys of all indexes, so no list finds them. Each is overwritten
and never deleted, so that a value lives as long as its job.

The payload changes in one transaction with its job, and both name the version of the job that wrote it. A
reader that finds another version reads the job again.

The item of the state holds the whole last successful execution. It is written before the job is, in the same
order of executions. So it is that of the job, or a later one whose settlement goes on.
"""

from collections.abc import Mapping
from typing import Any, cast

from jobmanager.aws.large_values import is_large
from jobmanager.jobs.definition import Job, LastExecution


def payload_name(job_name: str) -> str:
    """Returns the sort key of the item of a job's payload."""
    return f"{job_name}#payload"


def state_name(job_name: str) -> str:
    """Returns the sort key of the item of a job's last successful execution."""
    return f"{job_name}#state"


def split(old: Job | None, new: Job) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """Returns the attributes of both as the job's item holds them, and the payload to write to its own item.

    That is None if nothing changes there, and empty if ``new`` needs the item no more.
    """
    before, after = dict(old or {}), dict(new)
    is_apart = before.get("payload_version") is not None
    is_same = before.get("payload") == new["payload"]
    if is_apart:
        before.pop("payload")
    if not is_large(new["payload"]):
        after.pop("payload_version", None)
        return before, after, "" if is_apart else None
    after.pop("payload")
    if is_apart and is_same:
        return before, after, None
    after["payload_version"] = new["version"]
    return before, after, new["payload"]


def lacks_payload(job: Job) -> bool:
    """Whether the payload of a job as it was read is in an item of its own."""
    return "payload" not in job


def with_payload(job: Job, item: Mapping[str, Any] | None) -> Job | None:
    """Returns the job with the payload of the item; None if that belongs to another version of the job."""
    if item is None or item["payload_version"] != job["payload_version"]:
        return None
    return cast(Job, {**job, "payload": item["payload"]})


def without_payload(job: Job) -> Job:
    """Returns the job with a payload that differs from any other."""
    return cast(Job, {**job, "payload": None})


def lacks_state(job: Job) -> bool:
    """Whether the last successful state of a job as it was read is in an item of its own."""
    return "state_is_apart" in job.get("last_successful_execution", {})


def with_state(job: Job, item: Mapping[str, Any] | None) -> Job:
    """Returns the job with the last successful execution of the item; without a state if there is none."""
    last = dict(item or job)["last_successful_execution"]
    kept = {name: value for name, value in last.items() if name != "state_is_apart"}
    return cast(Job, {**job, "last_successful_execution": kept})


def without_state(finished: LastExecution) -> LastExecution:
    """Returns an execution as its job holds it if its state is in the item of its own."""
    kept = {name: value for name, value in finished.items() if name != "state"}
    return cast(LastExecution, {**kept, "state_is_apart": True})
