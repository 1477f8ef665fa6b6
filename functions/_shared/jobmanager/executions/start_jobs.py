"""Starts the executions of the jobs that are due by a tick, each once.

The name of an execution consists of the job's guid and the tick's scheduled_time, and Step Functions accepts
each name only once. So a tick may be delivered twice, concurrently, or again after it failed half way. While
an execution runs, Step Functions would accept the same name with the same input once more, and start nothing.
Each delivery of a tick therefore adds an id of its own to the input, so that the number of starts is exact:
https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html

A job may move between two schedules that fire at the same time. The execution that the tick of the old
schedule started may then be skipped as ``schedule_changed``, and its name is taken when the tick of the new
schedule comes. That tick starts the job under the name with the suffix ``moved``. To find such jobs, it reads
the records of the names that are taken. Only a repeated tick, or one at the time of another, has any. An
execution that has no record yet may be beginning just now, and may have looked whether the new schedule fired
a moment before this tick was recorded. So its record is looked for once more, a second later.

A name of an Express execution is never taken. There run_execution does the same, when it finds the record.
"""

import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypedDict, cast

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.aws.clients import step_functions, untraced_step_functions
from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.core.names import execution_id, job_guid, split_job_key
from jobmanager.core.retry import Pause, tries
from jobmanager.executions import spread
from jobmanager.executions import store as executions
from jobmanager.executions.machine import start_machine
from jobmanager.executions.moved import MOVED, had_moved
from jobmanager.executions.record import Start
from jobmanager.executions.time_limits import task_limits
from jobmanager.jobs.definition import Job
from jobmanager.jobs.store import DueJob
from jobmanager.runtime.logs import logger
from jobmanager.runtime.tracing import trace_in_threads

_STARTS_AT_ONCE = 32
_RECORDS_PER_READ = 100
_LONGEST_PAUSE_SECONDS = 8.0

# X-Ray guarantees 100 KB for a trace, and may freeze a larger one. A run takes about 15 KB, so the executions
# of a tick share its trace only if they are few:
# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html
MAX_IN_ONE_TRACE = 5


class Firing(TypedDict):
    """Which schedule fired (its key), and when."""

    schedule: str
    scheduled_time: str


class Budget(NamedTuple):
    """How long failed calls may be retried: until less than ``reserve_ms`` remain. ``pause`` waits."""

    remaining_ms: Callable[[], int]
    reserve_ms: int
    pause: Pause | None = None

    @property
    def is_used_up(self) -> bool:
        """Whether there is no time for another round of retries."""
        return self.remaining_ms() < self.reserve_ms


class Started(NamedTuple):
    """How many executions were started, and how many starts kept failing."""

    started: int = 0
    failed: int = 0

    def plus(self, other: "Started") -> "Started":
        """Returns the sums."""
        return Started(self.started + other.started, self.failed + other.failed)


def thread_pool() -> ThreadPoolExecutor:
    """Returns a pool for starts. Its threads share the clients, which are created here and cached."""
    step_functions()
    return ThreadPoolExecutor(_STARTS_AT_ONCE, initializer=trace_in_threads())


def start_jobs(
    pool: ThreadPoolExecutor,
    jobs: Sequence[DueJob],
    firing: Firing,
    budget: Budget,
    have_own_traces: bool = False,
) -> Started:
    """Starts jobs in rounds: those that fail in one round are retried together in the next.

    The SDK's adaptive retry mode is not used, because it slows down all starts long after some were
    throttled. If ``have_own_traces``, or if the jobs are many, each execution has a trace of its own.
    """
    started = 0
    of_key = {job["job_key"]: job for job in jobs}
    pending = list(of_key)
    delivery_id = secrets.token_hex(8)
    have_own_traces = have_own_traces or len(pending) > MAX_IN_ONE_TRACE
    if have_own_traces:
        untraced_step_functions()  # also cached, for the threads

    def start(keys: list[str], suffix: str = "") -> dict[str, list[str]]:
        outcomes: dict[str, list[str]] = {"started": [], "already started": [], "failed": []}
        start_one = partial(
            _start, firing=firing, delivery_id=delivery_id, has_own_trace=have_own_traces, suffix=suffix
        )
        for key, outcome in zip(keys, pool.map(start_one, (of_key[key] for key in keys)), strict=True):
            outcomes[outcome].append(key)
        return outcomes

    moved: list[str] = []
    for number in tries(None, 1.0, _LONGEST_PAUSE_SECONDS, budget.pause):
        first = start(pending)
        moved_here, not_read, not_begun = _moved(first["already started"], firing)
        again = start([*moved, *moved_here], MOVED)
        started += len(first["started"]) + len(again["started"])
        pending, moved = [*first["failed"], *not_read], again["failed"]
        look_again = not_begun if number == 0 else []
        if not (pending or moved or look_again) or budget.is_used_up:
            break
        pending += look_again
    return Started(started, len(pending) + len(moved))


def _moved(job_keys: list[str], firing: Firing) -> tuple[list[str], list[str], list[str]]:
    """Returns the jobs whose execution was skipped because they had moved to the schedule that fired.

    Also returns those whose records could not be read, and those whose executions have no record yet.
    """
    moved: list[str] = []
    not_read: list[str] = []
    not_begun: list[str] = []
    for start in range(0, len(job_keys), _RECORDS_PER_READ):
        names = {_execution_id(key, firing): key for key in job_keys[start : start + _RECORDS_PER_READ]}
        try:
            found = executions.find_many(list(names))
        except (ClientError, BotoCoreError) as error:
            logger.warning("records of started jobs were not read yet", extra={"error": str(error)})
            not_read += names.values()
            continue
        moved += [names[record["execution_id"]] for record in found if had_moved(record, firing["schedule"])]
        not_begun += [names[name] for name in names.keys() - {record["execution_id"] for record in found}]
    return moved, not_read, not_begun


def start_of(job: DueJob | Job, execution_id: str, schedule: str, scheduled_time: str) -> Start:
    """Builds the input of the state machine that starts an execution of a job; ``schedule`` is a key."""
    service_name, job_name = split_job_key(job["job_key"])
    due = {
        "service_name": service_name,
        "job_name": job_name,
        "job_guid": job_guid(service_name, job_name),
        "execution_id": execution_id,
        "schedule": schedule,
        "scheduled_time": scheduled_time,
        "workflow_type": job.get("workflow_type", "standard"),
        **task_limits(job),
    }
    return cast(Start, due)


def _execution_id(job_key: str, firing: Firing, suffix: str = "") -> str:
    return execution_id(job_guid(*split_job_key(job_key)), ms_of_iso(firing["scheduled_time"]), suffix)


def _start(job: DueJob, firing: Firing, delivery_id: str, has_own_trace: bool, suffix: str) -> str:
    service_name, job_name = split_job_key(job["job_key"])
    name = _execution_id(job["job_key"], firing, suffix)
    scheduled_ms = ms_of_iso(firing["scheduled_time"])
    starts_at_ms = spread.starts_at_ms(job, scheduled_ms)
    due = start_of(job, name, firing["schedule"], firing["scheduled_time"])
    if starts_at_ms != scheduled_ms:
        due["starts_at"] = iso(starts_at_ms)
    due["delivery_id"] = delivery_id
    try:
        return "started" if start_machine(due, has_own_trace) else "already started"
    except (ClientError, BotoCoreError) as error:
        about = {"service_name": service_name, "job_name": job_name, "execution_id": name}
        logger.warning("not started yet", extra={**about, "error": str(error)})
        return "failed"
