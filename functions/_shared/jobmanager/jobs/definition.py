"""The fields of a job, what follows from them, and the job as the API shows it."""

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict, get_args

from jobmanager.core.clock import iso
from jobmanager.core.mappings import picked
from jobmanager.jobs.spread import offset_seconds
from jobmanager.schedules.zones import UTC

MAX_PAYLOAD_BYTES = 32 * 1024
MAX_SYNC_SECONDS = 60
MAX_CATCH_UP_WINDOW_SECONDS = 30 * 86_400

MANAGER = "manager"
"""The ``updated_by`` of a job that the manager itself has changed."""

type WorkflowType = Literal["standard", "express"]

type Overlap = Literal["allow", "skip", "queue_one", "queue_all", "cancel_running"]

OVERLAPS: tuple[Overlap, ...] = get_args(Overlap.__value__)

type CatchUp = Literal["none", "one", "all"]

type PauseCode = Literal["failures_in_a_row"]

type StreakEvent = Literal["job.failing", "job.recovered"]

# A class cannot declare a field named ``async``, because that is a keyword of Python.
Async = TypedDict("Async", {"async": bool}, total=False)


class Retry(TypedDict):
    """How many attempts an execution has, which statuses are retried, and how long to wait before a retry."""

    max_attempts: int
    interval_seconds: int
    backoff_rate: float
    on: list[str]


class After(TypedDict):
    """A job of the same service after whose executions another runs, and after which of their ends."""

    job: str
    on: list[str]


class JobDefinition(Async):
    """The part of a job that a PUT sets: the body with defaults, and its timing in canonical form.

    It has either ``schedule`` or ``after``. A job in UTC has no ``time_zone``, as those that earlier versions
    stored. ``start_at`` and ``end_at`` are in UTC.
    """

    schedule: NotRequired[str]
    after: NotRequired[list[After]]
    time_zone: NotRequired[str]
    start_at: NotRequired[str]
    end_at: NotRequired[str]
    invocation_type: str
    invocation_target: str
    payload: str
    enabled: bool
    exclusive: bool
    overlap: NotRequired[Overlap]
    ttl_seconds: int
    max_duration_seconds: int
    heartbeat_interval_seconds: NotRequired[int]
    alert_after_failures: NotRequired[int]
    pause_after_failures: NotRequired[int]
    warn_after_seconds: NotRequired[int]
    description: NotRequired[str]
    owner: NotRequired[str]
    tags: NotRequired[dict[str, str]]
    catch_up: NotRequired[CatchUp]
    catch_up_window_seconds: NotRequired[int]
    spread_seconds: NotRequired[int]
    limit: NotRequired[str]
    starting_deadline_seconds: NotRequired[int]
    retry: NotRequired[Retry]
    workflow_type: NotRequired[WorkflowType]


class Pausing(TypedDict):
    """A requested pause: why, and until when (ms since 1970). Without ``until`` it lasts until a resume."""

    reason: str
    until: NotRequired[int]


class Paused(Pausing):
    """A pause as the job stores it. Only one by the manager has a ``code``."""

    code: NotRequired[PauseCode]
    paused_at: str
    paused_by: str


class LastExecution(TypedDict, total=False):
    """The fields of an ended execution that a job stores; ``state`` only after a success."""

    execution_id: str
    scheduled_time: str
    scheduled_time_ms: int
    service_invoked_at_ms: int
    finished_at_ms: int
    fencing_token: int
    state: str
    state_is_apart: bool
    status: str
    summary: str


class Published(TypedDict):
    """A published event about a streak, and the execution that caused it."""

    execution_id: str
    event: StreakEvent


class ToPause(TypedDict):
    """How many executions failed in a row since the job was last activated, at ``since_ms``.

    If they are ``pause_after_failures``, the last of them is ``execution_id``.
    """

    since_ms: int
    failures: int
    execution_id: NotRequired[str]


class Streak(TypedDict):
    """How many executions failed in a row, and whether ``job.failing`` was published.

    ``to_pause``: those that count for ``pause_after_failures``, if the job has it.
    """

    failures: int
    is_failing: bool
    counted: list[str]
    failed_at_ms: NotRequired[int]
    told: NotRequired[Published]
    to_pause: NotRequired[ToPause]


class JobEvent(TypedDict):
    """An event about one change of a job. The job keeps it until it is published.

    ``job.orphaned`` has ``orphans``: the jobs that run after the deleted one. It is published for each.
    """

    event: str
    occurred_at: str
    version: int
    updated_by: str
    changed: list[str]
    orphans: NotRequired[list[str]]


class Parent(TypedDict):
    """An ended execution of another job, after which an execution runs."""

    job: str
    execution_id: str
    status: str


class Arrival(Parent):
    """The latest execution of a parent that ended as its child wants it; ``is_used`` once the child ran."""

    finished_at_ms: int
    chain_depth: int
    trace_header: NotRequired[str]
    is_used: bool


class ChainedStart(TypedDict):
    """An execution that is to start, because all parents of its job have ended."""

    execution_id: str
    scheduled_time: str
    parents: list[Parent]
    chain_depth: int
    trace_header: NotRequired[str]


class Arrivals(TypedDict):
    """What a job with several parents waits for: their latest ends, and the start that follows from them."""

    of: dict[str, Arrival]
    starting: NotRequired[ChainedStart]


class Span(TypedDict):
    """A time in which a job was active on a schedule, in ms since 1970; the end is not part of it.

    ``schedule`` is the key of the schedule.
    """

    schedule: str
    since_ms: int
    until_ms: int


class Job(JobDefinition):
    """A job as it is stored; docs/data-model.md describes each attribute."""

    service_name: str
    job_name: str
    job_key: str
    job_guid: str
    payload_version: NotRequired[int]
    catalog: NotRequired[str]
    version: int
    created_at: str
    updated_at: str
    updated_by: str
    managed_by: NotRequired[str]
    request_id: NotRequired[str]
    deleted_at: NotRequired[str]
    paused: NotRequired[Paused]
    completed_at: NotRequired[str]
    active_schedule: NotRequired[str]
    active_since_ms: NotRequired[int]
    active_before: NotRequired[list[Span]]
    left_schedules: list[str]
    untold_events: NotRequired[list[JobEvent]]
    untold_since: NotRequired[str]
    children: NotRequired[list[str]]
    arrivals: NotRequired[Arrivals]
    streak: NotRequired[Streak]
    lock_execution: NotRequired[str]
    lock_expires_at: NotRequired[int]
    waiting_count: NotRequired[int]
    fencing_token: NotRequired[int]
    exclusive_since_ms: NotRequired[int]
    last_execution: NotRequired[LastExecution]
    last_successful_execution: NotRequired[LastExecution]


DEFINITION_FIELDS = (
    "schedule",
    "after",
    "time_zone",
    "start_at",
    "end_at",
    "invocation_type",
    "invocation_target",
    "payload",
    "async",
    "enabled",
    "exclusive",
    "overlap",
    "ttl_seconds",
    "max_duration_seconds",
    "heartbeat_interval_seconds",
    "alert_after_failures",
    "pause_after_failures",
    "warn_after_seconds",
    "description",
    "owner",
    "tags",
    "catch_up",
    "catch_up_window_seconds",
    "spread_seconds",
    "limit",
    "starting_deadline_seconds",
    "retry",
    "workflow_type",
)

_SHOWN = (
    "service_name",
    "job_name",
    "job_guid",
    *DEFINITION_FIELDS,
    "managed_by",
    "completed_at",
    "version",
    "created_at",
    "updated_at",
    "updated_by",
    "fencing_token",
    "lock_execution",
    "last_execution",
)


def is_deleted(job: Job) -> bool:
    """Whether the job was deleted, and this is its tombstone."""
    return "deleted_at" in job


def workflow_type(job: Job) -> WorkflowType:
    """Returns the type of a job's state machine. A job that an earlier version stored has none."""
    return job.get("workflow_type", "standard")


def overlap(job: Mapping[str, Any]) -> Overlap:
    """Returns what a job, or its definition, does if it is due while it runs.

    It is stored only if neither ``allow`` nor ``skip``, which ``exclusive`` already says.
    """
    found: Overlap = job.get("overlap", "skip") if job["exclusive"] else "allow"
    return found


def is_exclusive(kind: Overlap) -> bool:
    """Whether a job with this overlap has a lock, so that at most one of its executions runs."""
    return kind != "allow"


def is_paused(job: Job, at_ms: int) -> bool:
    """Whether the job is paused at a time."""
    return "paused" in job and at_ms < job["paused"].get("until", at_ms + 1)


def is_chained(job: Mapping[str, Any]) -> bool:
    """Whether the job, or a definition, has no schedule, but runs after other jobs."""
    return "after" in job


def wants_runs(job: Job) -> bool:
    """Whether the manager is to start the job by itself, now or at the end of its pause."""
    is_paused_without_end = "paused" in job and "until" not in job["paused"]
    return job["enabled"] and not is_deleted(job) and not is_paused_without_end


def is_active(job: Job, at_ms: int) -> bool:
    """Whether the job is on its schedule, or waits for other jobs, and is not paused."""
    waits = "active_schedule" in job or (is_chained(job) and wants_runs(job))
    return waits and not is_paused(job, at_ms)


def has_streak(job: Mapping[str, Any]) -> bool:
    """Whether the failures in a row of a job, or of its definition, are counted."""
    return "alert_after_failures" in job or "pause_after_failures" in job


def is_to_be_paused(job: Job, execution_id: str, at_ms: int) -> bool:
    """Whether the failure of an execution is the one after which the job is still to be paused."""
    to_pause = job["streak"].get("to_pause") if "streak" in job else None
    if to_pause is None or to_pause.get("execution_id") != execution_id:
        return False
    is_same_span = to_pause["since_ms"] == job.get("active_since_ms", 0)
    return "pause_after_failures" in job and is_active(job, at_ms) and is_same_span


def job_view(job: Job, at_ms: int, whole: bool = True) -> dict[str, Any]:
    """Returns a job as the API shows it at a time: a pause that has ended is not shown.

    Unless ``whole``, it lacks payload and state, which may be large.
    """
    view = picked(job, (name for name in _SHOWN if whole or name != "payload"))
    if not is_chained(job):
        view["time_zone"] = job.get("time_zone", UTC)
    view["workflow_type"] = workflow_type(job)
    view["overlap"] = overlap(job)
    if "spread_seconds" in job:
        view["offset_seconds"] = offset_seconds(job["job_key"], job["spread_seconds"])
    if is_paused(job, at_ms):
        until = {"until": iso(job["paused"]["until"])} if "until" in job["paused"] else {}
        view["paused"] = {**job["paused"], **until}
    if "lock_expires_at" in job:
        view["lock_expires_at"] = iso(job["lock_expires_at"] * 1000)
    last_successful = job.get("last_successful_execution", {})
    view["last_successful_execution"] = {
        name: value
        for name, value in last_successful.items()
        if name != "state_is_apart" and (whole or name != "state")
    }
    return view
