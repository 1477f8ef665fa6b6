"""The record of an execution: its fields, and how it is built.

Times in ``_ms`` are milliseconds since 1970; ``lock_expires_at``, ``expires_at`` and ``next_attempt_at`` are
seconds since 1970.
"""

from typing import Any, Literal, NotRequired, TypedDict, cast
from zlib import crc32

from jobmanager.core.clock import day, ms_of_iso
from jobmanager.core.mappings import picked
from jobmanager.core.settings import number_setting
from jobmanager.executions.order import is_late, late_key, time_key
from jobmanager.executions.reasons import Reason
from jobmanager.executions.time_limits import TaskLimits, limits
from jobmanager.jobs.definition import Async, Job, Parent, Retry, WorkflowType, workflow_type
from jobmanager.runtime.tracing import trace_header

type Status = Literal["waiting", "running", "success", "fail", "timeout", "skipped", "cancelled"]

# Whose fault a failure is; absent if it is the service's, or nobody's.
type Fault = Literal["manager"]

type WaitsFor = Literal["lock", "slot", "start"]

WAITING: Literal["waiting"] = "waiting"
"""It waits for the lock of its job, for a slot, or for its time under a limit. Nothing of it runs."""
RUNNING: Literal["running"] = "running"
FINAL_STATUSES = ("success", "fail", "timeout", "skipped", "cancelled")
POSTPONED = "postponed"
"""The ``machine_execution`` of an attempt that no machine runs until the time that its service asked for."""
# How long an Express machine may try to notify a service before the sweep looks after it. Its state waits at
# most 20 s between two tries, and a try takes some 15 s at most.
_SECONDS_TO_NOTIFY = 60
# How long the function that gives a turn may take to start the machine. A sweep comes each minute, and must
# come before the execution counts as dead: its ttl_seconds, which may be a few, and the grace after that.
_SECONDS_TO_START = 5
_SECONDS_TO_LOOK_AT_WAITING = 300
KEPT_OF_WAITING = (
    "started_by",
    "rerun_of",
    "reruns",
    "payload",
    "payload_sha256",
    "fencing_token",
    "holds_slot",
    "trace_header",
)
"""What the record of a waiting execution keeps: what a caller asked for, its links, what it has already."""


class BackfillOf(TypedDict):
    """The backfill that started an execution: its id, and when it was requested by whom."""

    backfill_id: str
    requested_at: str
    requested_by: str


class Due(TypedDict):
    """An execution that is due to begin: by a tick, after other jobs, or for a time that somebody backfills.

    ``schedule`` is the key of the schedule whose tick it is. ``starts_at`` is when it is to start, if its job
    is spread and that is after ``scheduled_time``; of a backfill, when it was requested. ``delivery_id``
    differs for each delivery of a tick. A tick says which type of state machine it started. ``parents`` are
    the executions after which this one runs, and ``chain_depth`` is its place in the longest line of them.
    """

    service_name: str
    job_name: str
    job_guid: str
    execution_id: str
    schedule: NotRequired[str]
    scheduled_time: str
    starts_at: NotRequired[str]
    delivery_id: NotRequired[str]
    workflow_type: NotRequired[WorkflowType]
    backfill_of: NotRequired[BackfillOf]
    parents: NotRequired[list[Parent]]
    chain_depth: NotRequired[int]


class Start(Due, TaskLimits):
    """The input of the state machine that starts an execution by a tick."""


class CallbackFields(TypedDict):
    """What a callback needs: the hash of the secret, and what runs the execution.

    That is the token of a Standard machine's waiting task, or the id of an Express machine's execution.
    """

    callback_hashes: list[str]
    task_token: NotRequired[str]
    machine_execution: NotRequired[str]


class ByHand(TypedDict):
    """The fields that only the record of an execution has that a caller requested."""

    started_by: str
    payload: NotRequired[str]
    rerun_of: NotRequired[str]
    parents: NotRequired[list[Parent]]
    chain_depth: NotRequired[int]


class Result(TypedDict, total=False):
    """The fields beside the final status of an execution or an attempt; ``error`` is any JSON value."""

    summary: str
    state: str
    error: Any
    cause: str
    fault: Fault
    reason: Reason
    correlation_id: str
    progress: float


class Attempt(TypedDict):
    """An attempt that was followed by another. Long texts are shortened; ``error`` is JSON text."""

    attempt: int
    status: str
    service_invoked_at_ms: NotRequired[int]
    finished_at_ms: int
    next_attempt_at: int
    progress: NotRequired[float]
    summary: NotRequired[str]
    error: NotRequired[str]
    cause: NotRequired[str]
    fault: NotRequired[Fault]
    correlation_id: NotRequired[str]


class _Snapshot(Async, total=False):
    """The job as it was when the execution began; empty if the execution failed before it began."""

    schedule: str
    time_zone: str
    start_at: str
    end_at: str
    invocation_type: str
    invocation_target: str
    payload: str
    payload_sha256: str
    exclusive: bool
    limit: str
    ttl_seconds: int
    heartbeat_interval_seconds: int
    max_duration_seconds: int
    warn_after_seconds: int
    retry: Retry


class Execution(_Snapshot):
    """An execution as it is stored; docs/data-model.md describes each attribute."""

    job_guid: str
    execution_id: str
    service_name: str
    job_name: str
    status: Status
    reason: NotRequired[Reason]
    scheduled_time: str
    scheduled_time_ms: int
    starts_at: NotRequired[str]
    waits_for: NotRequired[WaitsFor]
    waiting_since_ms: NotRequired[int]
    may_start_at_ms: NotRequired[int]
    holds_slot: NotRequired[bool]
    started_at_ms: int
    job_created_at: NotRequired[str]
    service_invoked_at_ms: NotRequired[int]
    finished_at_ms: NotRequired[int]
    settled_at_ms: NotRequired[int]
    time_key: str
    day_shard: str
    late_shard: NotRequired[str]
    late_key: NotRequired[str]
    sweep_shard: NotRequired[str]
    sweep_at: NotRequired[int]
    open_shard: NotRequired[str]
    lock_expires_at: NotRequired[int]
    expires_at: int
    fencing_token: NotRequired[int]
    attempts: NotRequired[list[Attempt]]
    workflow_type: NotRequired[WorkflowType]
    task_token: NotRequired[str]
    machine_execution: NotRequired[str]
    postponed: NotRequired[int]
    callback_hashes: NotRequired[list[str]]
    delivered_attempt: NotRequired[int]
    heartbeats: NotRequired[int]
    last_heartbeat_at_ms: NotRequired[int]
    progress: NotRequired[float]
    summary: NotRequired[str]
    state: NotRequired[str]
    state_sha256: NotRequired[str]
    error: NotRequired[str]
    cause: NotRequired[str]
    fault: NotRequired[Fault]
    correlation_id: NotRequired[str]
    warned_at_ms: NotRequired[int]
    started_by: NotRequired[str]
    backfill_of: NotRequired[BackfillOf]
    rerun_of: NotRequired[str]
    reruns: NotRequired[list[str]]
    parents: NotRequired[list[Parent]]
    children: NotRequired[list[str]]
    chain_depth: NotRequired[int]
    trace_header: NotRequired[str]


_SNAPSHOT_FIELDS = (
    "schedule",
    "time_zone",
    "start_at",
    "end_at",
    "invocation_type",
    "invocation_target",
    "payload",
    "async",
    "exclusive",
    "limit",
    "ttl_seconds",
    "heartbeat_interval_seconds",
    "max_duration_seconds",
    "warn_after_seconds",
    "retry",
)


def running_record(due: Due, job: Job, now_ms: int, workflow_type: WorkflowType) -> Execution:
    """Builds the record of an execution that will notify its service."""
    record = _new_record(due, job, RUNNING, now_ms, workflow_type)
    record["lock_expires_at"] = lock_expiry(
        now_ms, now_ms, limits(job)["ttl_seconds"], limits(job)["max_duration_seconds"]
    )
    record["sweep_shard"] = sweep_shard(shard(due["execution_id"]))
    record["sweep_at"] = first_sweep_at(record, now_ms)
    _keep_trace(record, due, job)
    return record


def _keep_trace(record: Execution, due: Due, job: Job) -> None:
    """Notes the trace of an execution in a chain, which the others of the chain continue."""
    if ("parents" in due or job.get("children")) and (header := trace_header()):
        record["trace_header"] = header


def skipped_record(
    due: Due, job: Job | None, reason: Reason, now_ms: int, workflow_type: WorkflowType
) -> Execution:
    """Builds the record of an execution that is skipped. It is settled, but for its event."""
    record = _new_record(due, job, "skipped", now_ms, workflow_type)
    return cast(Execution, {**record, "reason": reason, "finished_at_ms": now_ms, "settled_at_ms": now_ms})


def waiting_record(
    due: Due, job: Job, waits_for: WaitsFor, reason: Reason, now_ms: int, since_ms: int | None = None
) -> Execution:
    """Builds the record of an execution that waits for its turn.

    It is without the payload of its job, which may change until the turn comes. ``since_ms``: since when it
    waits, if not since now.
    """
    record = _new_record(due, job, WAITING, now_ms, workflow_type(job))
    record.pop("payload", None)
    record["reason"] = reason
    record["waits_for"] = waits_for
    record["waiting_since_ms"] = now_ms if since_ms is None else since_ms
    _keep_trace(record, due, job)
    record["sweep_shard"] = sweep_shard(shard(due["execution_id"]))
    record["sweep_at"] = next_look_at_waiting(record, job, now_ms)
    return record


def next_look_at_waiting(record: Execution, job: Job, now_ms: int) -> int:
    """Returns when the sweep looks at a waiting execution; seconds since 1970.

    That is as its ``starting_deadline_seconds`` pass, and from time to time before, in case that nobody gave
    it its turn.
    """
    from_ms = max(now_ms, record.get("may_start_at_ms", now_ms))
    look = from_ms // 1000 + _SECONDS_TO_LOOK_AT_WAITING
    deadline = starting_deadline(record, job)
    return look if deadline is None else max(min(look, deadline + 1), now_ms // 1000 + 1)


def starting_deadline(due: Due | Execution, job: Job) -> int | None:
    """Returns until when an execution may start; seconds since 1970, None if there is no limit."""
    seconds = job.get("starting_deadline_seconds")
    return None if seconds is None else starts_at_ms(due) // 1000 + seconds


def resumed_record(waiting: Execution, job: Job, now_ms: int) -> Execution:
    """Builds the record of an execution whose turn has come. It starts now, as its job is now."""
    due = cast(Due, picked(waiting, Due.__annotations__))
    record = running_record(due, job, now_ms, workflow_type(job))
    record["sweep_at"] = min(record["sweep_at"], now_ms // 1000 + _SECONDS_TO_START)
    if "payload" in waiting or "payload_sha256" in waiting:
        record.pop("payload", None)
    kept = picked(waiting, ("waiting_since_ms", *KEPT_OF_WAITING))
    return cast(Execution, {**record, **kept})


def unbegun_record(due: Due, status: Status, stored: dict[str, Any], now_ms: int) -> Execution:
    """Builds the record of an execution that failed before it had one; open until it is settled."""
    workflow_type = due.get("workflow_type", "standard")
    record = cast(Execution, {**_new_record(due, None, status, now_ms, workflow_type), **stored})
    record["finished_at_ms"] = now_ms
    record["lock_expires_at"] = record["sweep_at"] = now_ms // 1000
    record["sweep_shard"] = sweep_shard(shard(due["execution_id"]))
    return record


def is_express(record: Execution) -> bool:
    """Whether an Express machine runs the execution. A record without a type is of a Standard one."""
    return record.get("workflow_type") == "express"


def is_open(record: Execution) -> bool:
    """Whether the execution is not settled yet."""
    return "settled_at_ms" not in record


def is_skipped_at_begin(record: Execution) -> bool:
    """Whether the execution was skipped when it began, so that only its event is left to publish."""
    return record["status"] == "skipped" and not is_open(record)


def first_sweep_at(record: Execution, now_ms: int) -> int:
    """Returns when the sweep first looks at an attempt that begins now; seconds since 1970.

    Step Functions knows whether a Standard machine still notifies the service, and for how long. Nobody knows
    that of an Express one, so the sweep looks soon whether the service was notified. A sync job is excepted:
    its function knows only when the service has answered.
    """
    if not is_express(record):
        return not_after_warning(record, record["lock_expires_at"], now_ms)
    # When the sweep looks at an Express one, it may start another machine. So a warning has to wait.
    return now_ms // 1000 + _SECONDS_TO_NOTIFY if record["async"] else record["lock_expires_at"]


def warn_at(record: Execution) -> int | None:
    """Returns from when on ``execution.late`` is to be published; seconds since 1970.

    None if its job has no ``warn_after_seconds``, or if it has been published.
    """
    if "warn_after_seconds" not in record or "warned_at_ms" in record:
        return None
    return record["started_at_ms"] // 1000 + record["warn_after_seconds"]


def not_after_warning(record: Execution, sweep_at: int, now_ms: int) -> int:
    """Returns ``sweep_at``, or when a warning is due if that is earlier; now if it has been due before."""
    due_at = warn_at(record)
    return sweep_at if due_at is None else min(sweep_at, max(due_at, now_ms // 1000))


def expires_at(ended_at_ms: int) -> int:
    """Returns when DynamoDB may delete the record of an execution that ended then; seconds since 1970."""
    return ended_at_ms // 1000 + number_setting("RETENTION_DAYS") * 86_400


def shard(execution_id: str) -> int:
    """Returns the shard of an execution, a hash that spreads executions which start together."""
    return crc32(execution_id.encode()) % number_setting("INDEX_SHARDS")


def shards_to_read() -> range:
    """Returns the shards that may hold a record; more than are written if the stage once had more."""
    return range(number_setting("INDEX_SHARDS_TO_READ"))


def day_shard(scheduled_time_ms: int, number: int) -> str:
    """Returns a partition key of the index ``by_day``."""
    return f"{day(scheduled_time_ms)}#{number}"


def late_shard(number: int) -> str:
    """Returns a partition key of the index ``late``, which holds the executions that started late."""
    return f"late#{number}"


def sweep_shard(number: int) -> str:
    """Returns a partition key of the index ``sweep``, which holds a record until it is settled."""
    return f"sweep#{number}"


def open_shard(number: int) -> str:
    """Returns a partition key of the index ``open``, which has the open records of the version before."""
    return f"open#{number}"


def lock_expiry(started_at_ms: int, at_ms: int, seconds: int, longest_seconds: int) -> int:
    """Returns ``lock_expires_at`` (seconds since 1970) if the service may be silent for ``seconds`` from now.

    It is never later than the longest duration allows, so an execution that runs too long becomes overdue.
    """
    return min(at_ms // 1000 + seconds, started_at_ms // 1000 + longest_seconds)


def starts_at_ms(due: Due | Execution) -> int:
    """Returns when an execution is to start: at its ``scheduled_time``, or later (see :class:`Due`)."""
    return ms_of_iso(due.get("starts_at", due["scheduled_time"]))


def invocation_latency_ms(record: Execution) -> int:
    """Returns the time from when it was to start, to the notification of the first attempt."""
    due_ms = ms_of_iso(record["starts_at"]) if "starts_at" in record else record["scheduled_time_ms"]
    return (first_invoked_at_ms(record) or 0) - due_ms


def invocation_latency_pct(record: Execution) -> float:
    """Returns the invocation latency in percent of ``ttl_seconds``, with one decimal."""
    return round(invocation_latency_ms(record) / (record["ttl_seconds"] * 1000) * 100, 1)


def first_invoked_at_ms(record: Execution) -> int | None:
    """Returns when the service was notified of the first attempt; None if it was not."""
    if "attempts" in record:
        return record["attempts"][0].get("service_invoked_at_ms")
    return record.get("service_invoked_at_ms")


def _new_record(
    due: Due, job: Job | None, status: Status, now_ms: int, workflow_type: WorkflowType
) -> Execution:
    scheduled_ms = ms_of_iso(due["scheduled_time"])
    identifier = due["execution_id"]
    snapshot = cast(_Snapshot, picked(job, _SNAPSHOT_FIELDS) if job else {})
    record: dict[str, Any] = {
        "job_guid": due["job_guid"],
        "execution_id": identifier,
        "service_name": due["service_name"],
        "job_name": due["job_name"],
        "status": status,
        "scheduled_time": due["scheduled_time"],
        "scheduled_time_ms": scheduled_ms,
        **picked(due, ("starts_at", "backfill_of", "parents", "chain_depth")),
        "started_at_ms": now_ms,
        "time_key": time_key(identifier, now_ms),
        "day_shard": day_shard(scheduled_ms, shard(identifier)),
        "expires_at": expires_at(now_ms) + snapshot.get("max_duration_seconds", 0),
        **({"job_created_at": job["created_at"]} if job else {}),
        **snapshot,
        **({"workflow_type": workflow_type} if workflow_type == "express" else {}),
    }
    if is_late(scheduled_ms, now_ms):
        record["late_shard"] = late_shard(shard(identifier))
        record["late_key"] = late_key(identifier, now_ms)
    return cast(Execution, record)
