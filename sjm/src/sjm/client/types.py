"""The JSON of the API as types. A test compares each with its schema in the OpenAPI document.

At run time each is a plain dict. The names are those of the document, where docs/api.md explains each field.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar

Status = Literal["waiting", "running", "success", "fail", "timeout", "skipped", "cancelled"]
SkipCode = Literal[
    "chain_too_deep",
    "job_deleted",
    "job_disabled",
    "job_paused",
    "limit_reached",
    "lock_held",
    "lock_lost",
    "not_active_then",
    "parents_changed",
    "queue_full",
    "schedule_changed",
    "started_too_late",
    "superseded",
]
By = Literal["scheduled_time", "started_at"]
InvocationType = Literal["http", "sns"]
WorkflowType = Literal["standard", "express"]
Overlap = Literal["allow", "skip", "queue_one", "queue_all", "cancel_running"]
End = Literal["success", "fail", "timeout", "cancelled"]
CatchUp = Literal["none", "one", "all"]
FinalStatus = Literal["success", "fail", "timeout", "skipped", "cancelled"]
BulkOutcome = Literal["rerun", "cancelled", "planned", "left", "failed"]
RuleState = Literal["in step", "missing", "disabled", "different"]
TriggerType = Literal["rule", "scheduler"]


class Retry(TypedDict):
    """How an execution that failed is tried again."""

    max_attempts: int
    interval_seconds: NotRequired[int]
    backoff_rate: NotRequired[float]
    on: NotRequired[list[Literal["fail", "timeout"]]]


# `async` is a keyword, so a class body cannot hold it.
_Async = TypedDict("_Async", {"async": NotRequired[bool]})


class After(TypedDict):
    """A job after whose executions another runs, and after which of their ends."""

    job: str
    on: list[End]


class RunsAfter(TypedDict):
    """The same as you PUT it: by default, after a success."""

    job: str
    on: NotRequired[list[End]]


class Job(_Async):
    """A job as you PUT it. It has either ``schedule`` or ``after``."""

    schedule: NotRequired[str]
    after: NotRequired[RunsAfter | list[RunsAfter]]
    time_zone: NotRequired[str]
    start_at: NotRequired[str]
    end_at: NotRequired[str]
    invocation_type: InvocationType
    invocation_target: NotRequired[str]
    payload: NotRequired[str]
    test_invocation: NotRequired[bool]
    enabled: NotRequired[bool]
    exclusive: NotRequired[bool]
    overlap: NotRequired[Overlap]
    ttl_seconds: NotRequired[int]
    heartbeat_interval_seconds: NotRequired[int]
    alert_after_failures: NotRequired[int]
    pause_after_failures: NotRequired[int]
    warn_after_seconds: NotRequired[int]
    max_duration_seconds: NotRequired[int]
    retry: NotRequired[Retry]
    catch_up: NotRequired[CatchUp]
    catch_up_window_seconds: NotRequired[int]
    spread_seconds: NotRequired[int]
    limit: NotRequired[str]
    workflow_type: NotRequired[WorkflowType]
    starting_deadline_seconds: NotRequired[int]
    description: NotRequired[str]
    owner: NotRequired[str]
    tags: NotRequired[dict[str, str]]


class Warning(TypedDict):
    """What you should know about a job, although it was saved."""

    code: Literal["never_fires", "shared_rate"]
    detail: str


class Paused(TypedDict):
    """Why a job does not fire. Only a pause by the manager has a ``code``."""

    code: NotRequired[Literal["failures_in_a_row"]]
    reason: str
    until: NotRequired[str]
    paused_at: str
    paused_by: str


class PastExecution(TypedDict):
    """An execution of a job that has ended, in short."""

    execution_id: str
    scheduled_time: str
    scheduled_time_ms: int
    service_invoked_at_ms: NotRequired[int]
    finished_at_ms: int
    fencing_token: NotRequired[int]
    status: Status
    summary: NotRequired[str]
    state: NotRequired[str]


class Nothing(TypedDict):
    """An empty object."""


class SavedJob(_Async):
    """A job as it is kept. A list leaves out ``payload``."""

    service_name: str
    job_name: str
    job_guid: str
    schedule: NotRequired[str]
    after: NotRequired[list[After]]
    children: NotRequired[list[str]]
    orphaned_by: NotRequired[list[str]]
    time_zone: NotRequired[str]
    start_at: NotRequired[str]
    end_at: NotRequired[str]
    invocation_type: InvocationType
    invocation_target: str
    payload: NotRequired[str]
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
    offset_seconds: NotRequired[int]
    starting_deadline_seconds: NotRequired[int]
    retry: NotRequired[Retry]
    workflow_type: NotRequired[WorkflowType]
    completed_at: NotRequired[str]
    managed_by: NotRequired[str]
    version: int
    created_at: str
    updated_at: str
    updated_by: str
    paused: NotRequired[Paused]
    fencing_token: NotRequired[int]
    lock_execution: NotRequired[str]
    lock_expires_at: NotRequired[str]
    last_execution: NotRequired[PastExecution]
    last_successful_execution: PastExecution | Nothing
    next_fire_times: NotRequired[list[str] | None]
    next_times: NotRequired[list["PreviewTime"] | None]
    warnings: NotRequired[list[Warning]]


class SkipReason(TypedDict):
    """Why an execution waits, why it was skipped, or why the manager cancelled it."""

    code: SkipCode
    detail: str


class Attempt(TypedDict):
    """How one attempt of an execution went."""

    attempt: int
    status: Status
    service_invoked_at_ms: NotRequired[int]
    finished_at_ms: NotRequired[int]
    progress: NotRequired[float]
    summary: NotRequired[str]
    correlation_id: NotRequired[str]
    error: NotRequired[Any]
    cause: NotRequired[str]
    fault: NotRequired[Literal["manager"]]


class Parent(TypedDict):
    """An execution after which another runs."""

    job: str
    execution_id: str
    status: Status


class Execution(TypedDict):
    """One run of a job. A list leaves out ``payload``, ``state`` and ``attempts``."""

    service_name: str
    job_name: str
    job_guid: str
    execution_id: str
    status: Status
    reason: NotRequired[SkipReason]
    schedule: NotRequired[str]
    time_zone: NotRequired[str]
    invocation_type: NotRequired[InvocationType]
    invocation_target: NotRequired[str]
    payload: NotRequired[str]
    exclusive: NotRequired[bool]
    workflow_type: NotRequired[WorkflowType]
    scheduled_time: str
    scheduled_time_ms: int
    starts_at: NotRequired[str]
    waiting_since_ms: NotRequired[int]
    may_start_at_ms: NotRequired[int]
    limit: NotRequired[str]
    started_at_ms: int
    service_invoked_at_ms: NotRequired[int]
    finished_at_ms: NotRequired[int]
    invocation_latency_ms: NotRequired[int]
    duration_ms: NotRequired[int]
    attempt: NotRequired[int]
    attempts: NotRequired[list[Attempt]]
    next_attempt_at: NotRequired[str]
    lock_expires_at: NotRequired[str]
    progress: NotRequired[float]
    summary: NotRequired[str]
    state: NotRequired[str]
    correlation_id: NotRequired[str]
    error: NotRequired[Any]
    cause: NotRequired[str]
    fault: NotRequired[Literal["manager"]]
    warn_after_seconds: NotRequired[int]
    warned_at_ms: NotRequired[int]
    fencing_token: NotRequired[int]
    started_by: NotRequired[str]
    backfill_of: NotRequired["BackfillOf"]
    rerun_of: NotRequired[str]
    reruns: NotRequired[list[str]]
    parents: NotRequired[list[Parent]]
    children: NotRequired[list[str]]
    paused: NotRequired[Paused]


class Chain(TypedDict):
    """The executions before one, up to the first ones, and all that run after these."""

    roots: list[str]
    executions: list[Execution]
    is_cut: bool


class BackfillOf(TypedDict):
    """The backfill that started an execution."""

    backfill_id: str
    requested_at: str
    requested_by: str


class BackfillTime(TypedDict):
    """A time that is backfilled, also by the clock of the job's time zone, and its execution."""

    scheduled_time: str
    local_time: str
    execution_id: str


class Backfill(TypedDict):
    """The times for which a job is started, or would be in a dry run. ``next_since`` begins the next one."""

    backfill_id: str
    schedule: str
    time_zone: str
    since: str
    until: str
    only_missed: bool
    dry_run: bool
    count: int
    times: list[BackfillTime]
    next_since: NotRequired[str]


class BulkResult(TypedDict):
    """What was done to one of many executions. One that was ``left`` or ``failed`` has a ``problem``."""

    execution_id: str
    service_name: NotRequired[str]
    job_name: NotRequired[str]
    scheduled_time: NotRequired[str]
    status: NotRequired[Status]
    outcome: BulkOutcome
    rerun: NotRequired[str]
    problem: NotRequired["ProblemDocument"]


class BulkAnswer(TypedDict):
    """What was done to many executions. If ``paging`` has ``more``, repeat the request with it."""

    dry_run: bool
    counts: dict[BulkOutcome, int]
    results: list[BulkResult]
    paging: "Paging"


class Schedule(TypedDict):
    """A schedule that active jobs have, and its trigger.

    ``schedule_key`` tells it from all others. ``rule`` is the state of its trigger, of either type.
    """

    schedule_key: str
    schedule: str
    time_zone: str
    start_at: NotRequired[str]
    end_at: NotRequired[str]
    trigger_type: TriggerType
    job_count: int
    rule: RuleState
    next_fire_times: list[str] | None


class PreviewTime(TypedDict):
    """A time by the clock of a time zone. A skipped one does not fire: the clocks go forward over it."""

    local: str
    utc: str
    skipped: bool


class Preview(TypedDict):
    """When a schedule would fire next: ``times`` by the clock of its time zone, ``fire_times`` in UTC."""

    schedule: str
    time_zone: str
    counted_from: NotRequired[str]
    fire_times: list[str]
    times: list[PreviewTime]


class ReconciledRule(TypedDict):
    """A trigger that was repaired. ``rule`` is its name, of either type."""

    schedule: str
    trigger_type: TriggerType
    rule: str
    found: Literal["missing", "orphaned", "disabled", "different"]
    done: Literal["put", "removed"]


class MissedTicks(TypedDict):
    """Ticks of one schedule that did not come."""

    schedule: str
    first_missed: str
    last_missed: str
    count: int


class Reconciliation(TypedDict):
    """What the reconciler found and did. If ``complete`` is false, ask again."""

    checked: int
    changed: list[ReconciledRule]
    missed: list[MissedTicks]
    completed: int
    complete: bool


class Seen(TypedDict):
    """What a target did with a test notification."""

    http_status: NotRequired[int]
    duration_ms: NotRequired[int]
    message_id: NotRequired[str]
    error: NotRequired[str]


class TargetTest(TypedDict):
    """The target of a job that was tested, and what it did."""

    invocation_type: InvocationType
    invocation_target: str
    seen: Seen


class LimitDefinition(TypedDict):
    """A limit as you PUT it: ``slots``, ``per_second``, or both."""

    slots: NotRequired[int]
    per_second: NotRequired[int]
    description: NotRequired[str]


class SavedLimit(TypedDict):
    """A limit as it is kept, and who uses it now."""

    service_name: str
    limit_name: str
    slots: NotRequired[int]
    per_second: NotRequired[int]
    description: NotRequired[str]
    version: int
    created_at: str
    updated_at: str
    updated_by: str
    held: int
    holders: list[str]
    waiting: int
    next_start_at: NotRequired[str]


class WebhookSecret(TypedDict):
    """A secret that signs the webhooks of a service, without the secret."""

    secret_id: str
    created_at: str
    created_by: str
    expires_at: NotRequired[str]


class NewWebhookSecret(TypedDict):
    """A new secret. The API shows it only this once."""

    service_name: str
    secret_id: str
    secret: str
    created_at: str
    created_by: str
    others: list[WebhookSecret]


class Callback(TypedDict):
    """What a service reports about its execution."""

    status: Literal["processing", "success", "fail"]
    progress: NotRequired[float]
    extend_seconds: NotRequired[int]
    summary: NotRequired[str]
    state: NotRequired[str]
    error: NotRequired[str | dict[str, Any]]
    correlation_id: NotRequired[str]


class CallbackAnswer(TypedDict):
    """How the execution stands after a callback."""

    execution_id: str
    attempt: int
    next_attempt_at: NotRequired[str]
    status: Status
    progress: NotRequired[float]
    lock_expires_at: str


class JobSearch(TypedDict, total=False):
    """Which jobs to find. A field that is absent does not limit the search."""

    service_name: str | Sequence[str]
    job_name: str | Sequence[str]
    job_guid: str | Sequence[str]
    owner: str | Sequence[str]
    schedule: str
    tags: Mapping[str, str]
    limit: int
    more: str


class ExecutionSearch(TypedDict, total=False):
    """Which executions to find. A field that is absent does not limit the search."""

    service_name: str | Sequence[str]
    job_name: str | Sequence[str]
    job_guid: str | Sequence[str]
    status: Status | Sequence[Status]
    reason: SkipCode | Sequence[SkipCode]
    since: str
    until: str
    by: By
    limit: int
    more: str


class _ManyOfService(TypedDict, total=False):
    job_name: str | Sequence[str]
    since: str
    until: str
    by: By
    execution_ids: Sequence[str]
    dry_run: bool
    limit: int
    more: str


class RerunManyOfService(_ManyOfService, total=False):
    """Which executions of a service to rerun: those of a search, or these."""

    status: FinalStatus | Sequence[FinalStatus]
    reason: SkipCode | Sequence[SkipCode]
    again: bool


class RerunMany(RerunManyOfService, total=False):
    """Which executions to rerun."""

    service_name: str | Sequence[str]
    job_guid: str | Sequence[str]


class CancelManyOfService(_ManyOfService, total=False):
    """Which executions of a service to cancel: those of a search that run or wait, or these."""

    reason: str


class CancelMany(CancelManyOfService, total=False):
    """Which executions to cancel."""

    service_name: str | Sequence[str]
    job_guid: str | Sequence[str]


class Paging(TypedDict):
    """``more`` leads to the next page. The last page does not have it."""

    more: NotRequired[str]


T = TypeVar("T")


class Page(TypedDict, Generic[T]):
    """One page of a list."""

    results: list[T]
    paging: Paging


class SchedulePage(TypedDict):
    """One page of the schedules, and how many the stage has.

    ``schedule_limit`` of them may have an EventBridge rule, and ``rule_count`` have one.
    """

    results: list[Schedule]
    paging: Paging
    schedule_count: int
    rule_count: int
    schedule_limit: int


class FieldError(TypedDict):
    """One thing that is wrong with a request. ``pointer`` is a JSON Pointer to it."""

    pointer: str
    detail: str


class ProblemDocument(TypedDict):
    """An RFC 9457 problem. ``type`` never changes its meaning; ``detail`` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    errors: NotRequired[list[FieldError]]
    more_errors: NotRequired[int]
    execution_status: NotRequired[Status]
    lock_execution: NotRequired[str]
    limit: NotRequired[int]
    nearest_schedules: NotRequired[list[str]]
    managed_by: NotRequired[str]
    version: NotRequired[int]
    seen: NotRequired[Seen]
    request_id: NotRequired[str]
