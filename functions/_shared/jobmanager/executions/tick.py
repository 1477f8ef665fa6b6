"""Handles a tick: starts one execution for each job on the schedule of the rule that fired.

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

The index by which a tick finds its jobs has what the state machine must know before an execution begins: how
long it waits. So a tick reads no job. If the job has changed meanwhile, run_execution corrects the limits.

A tick of many jobs is split into parts, see tick_parts. To this module a part is a tick of fewer jobs.

reconcile_schedules sends a missed tick with ``catch_up``, which starts only the jobs that catch up. If
EventBridge delivers that tick later after all, the names are the same. The missed times of a rate are
estimates, so there the names may differ by a second.
"""

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.aws.clients import step_functions, untraced_step_functions
from jobmanager.core.clock import ms_of_iso
from jobmanager.core.errors import TickIncomplete
from jobmanager.core.names import execution_id, job_guid, split_job_key
from jobmanager.core.retry import Pause, tries
from jobmanager.executions import store as executions
from jobmanager.executions import tick_parts
from jobmanager.executions.limits import TaskLimits, task_limits
from jobmanager.executions.machine import start_machine
from jobmanager.executions.moved import MOVED, had_moved
from jobmanager.executions.record import Start
from jobmanager.executions.tick_parts import Tick
from jobmanager.jobs import store
from jobmanager.jobs.activity import wants_catch_up
from jobmanager.jobs.definition import WorkflowType
from jobmanager.runtime.logs import logger
from jobmanager.runtime.tracing import trace_in_threads
from jobmanager.schedules import counts

_PAGE = 1000
_STARTS_AT_ONCE = 32
_JOBS_PER_READ = 100
_RECORDS_PER_READ = 100

# X-Ray guarantees 100 KB for a trace, and may freeze a larger one. A run takes about 15 KB, so the executions
# of a tick share its trace only if they are few:
# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html
_MAX_IN_ONE_TRACE = 5

# AWS throttles StartExecution to 150 a second in most regions. If four parts of a tick share them, a page
# takes 27 s. This leaves time for many rounds:
# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
_TIME_FOR_A_PAGE_MS = 90_000
_LONGEST_PAUSE_SECONDS = 8.0


def start_due_executions(
    tick: Tick,
    remaining_ms: Callable[[], int],
    hand_over: Callable[[Tick], None],
    pause: Pause | None = None,
) -> int:
    """Starts the executions of a tick, page by page; returns how many it started.

    In parallel it records the time of the tick. A tick of many jobs it only splits, and passes each part to
    ``hand_over``: so each part fails and is retried on its own. If too little time is left for another page,
    it passes on the rest. Raises TickIncomplete at the end if some starts kept failing until the time was up.
    """
    started, failed = 0, 0
    is_whole = "after" not in tick
    step_functions()  # created here and cached, so that the threads do not each create one
    with ThreadPoolExecutor(_STARTS_AT_ONCE, initializer=trace_in_threads()) as pool:
        if is_whole and not tick.get("catch_up"):
            pool.submit(_record_tick, tick)
        for page in store.pages_of_due(tick["schedule"], tick.get("after"), _PAGE, tick.get("until")):
            if is_whole and len(page) == _PAGE and (jobs := _job_count(tick)) >= tick_parts.MIN_JOBS:
                _split(tick, jobs, hand_over)
                return 0
            is_whole = False
            started_here, failed_here = _start_jobs_of_page(pool, page, tick, remaining_ms, pause)
            started += started_here
            failed += failed_here
            is_last = len(page) < _PAGE or page[-1]["job_key"] == tick.get("until")
            if not is_last and remaining_ms() < 2 * _TIME_FOR_A_PAGE_MS:
                hand_over({**tick, "after": page[-1]["job_key"]})
                break
    logger.info(
        "tick handled", extra={"started": started, "failed": failed, "scheduled_time": tick["scheduled_time"]}
    )
    if failed:
        raise TickIncomplete(f"{failed} executions were not started; the tick must be delivered again")
    return started


def _job_count(tick: Tick) -> int:
    """Counts the jobs on the schedule; 0 if the count cannot be read, because the tick need not be split."""
    try:
        return counts.job_count(tick["schedule"])
    except (ClientError, BotoCoreError) as error:
        logger.warning("the jobs were not counted", extra={"error": str(error)})
        return 0


def _split(tick: Tick, jobs: int, hand_over: Callable[[Tick], None]) -> None:
    parts = 0
    for part in tick_parts.parts_of(tick, jobs):
        hand_over(part)
        parts += 1
    logger.info("tick split", extra={"parts": parts, "jobs": jobs, "scheduled_time": tick["scheduled_time"]})


def _start_jobs_of_page(
    pool: ThreadPoolExecutor,
    page: list[store.DueJob],
    tick: Tick,
    remaining_ms: Callable[[], int],
    pause: Pause | None,
) -> tuple[int, int]:
    """Starts the jobs of a page in rounds: those that fail in one round are retried together in the next.

    The SDK's adaptive retry mode is not used, because it slows down all starts long after some were
    throttled.
    """
    started = 0
    keys_of_page = [job["job_key"] for job in page]
    pending = _to_catch_up(keys_of_page, tick) if tick.get("catch_up") else keys_of_page
    limits_of = {job["job_key"]: task_limits(job) for job in page}
    type_of: dict[str, WorkflowType] = {job["job_key"]: job.get("workflow_type", "standard") for job in page}
    delivery_id = secrets.token_hex(8)
    have_own_traces = len(pending) > _MAX_IN_ONE_TRACE
    if have_own_traces:
        untraced_step_functions()  # also cached, for the threads

    def start(keys: list[str], suffix: str = "") -> dict[str, list[str]]:
        outcomes: dict[str, list[str]] = {"started": [], "already started": [], "failed": []}
        start_one = partial(
            _start, tick=tick, delivery_id=delivery_id, has_own_trace=have_own_traces, suffix=suffix
        )
        limits = [limits_of[key] for key in keys]
        types = [type_of[key] for key in keys]
        for key, outcome in zip(keys, pool.map(start_one, keys, limits, types), strict=True):
            outcomes[outcome].append(key)
        return outcomes

    moved: list[str] = []
    for number in tries(None, 1.0, _LONGEST_PAUSE_SECONDS, pause):
        first = start(pending)
        moved_here, not_read, not_begun = _moved(first["already started"], tick)
        again = start([*moved, *moved_here], MOVED)
        started += len(first["started"]) + len(again["started"])
        pending, moved = [*first["failed"], *not_read], again["failed"]
        look_again = not_begun if number == 0 else []
        if not (pending or moved or look_again) or remaining_ms() < _TIME_FOR_A_PAGE_MS:
            break
        pending += look_again
    return started, len(pending) + len(moved)


def _moved(job_keys: list[str], tick: Tick) -> tuple[list[str], list[str], list[str]]:
    """Returns the jobs whose execution was skipped because they had moved to the schedule of this tick.

    Also returns those whose records could not be read, and those whose executions have no record yet.
    """
    moved: list[str] = []
    not_read: list[str] = []
    not_begun: list[str] = []
    for start in range(0, len(job_keys), _RECORDS_PER_READ):
        names = {_execution_id(key, tick): key for key in job_keys[start : start + _RECORDS_PER_READ]}
        try:
            found = executions.find_many(list(names))
        except (ClientError, BotoCoreError) as error:
            logger.warning("records of started jobs were not read yet", extra={"error": str(error)})
            not_read += names.values()
            continue
        moved += [names[record["execution_id"]] for record in found if had_moved(record, tick["schedule"])]
        not_begun += [names[name] for name in names.keys() - {record["execution_id"] for record in found}]
    return moved, not_read, not_begun


def _record_tick(tick: Tick) -> None:
    """Records the time of the tick for the reconciler. A failure is only logged."""
    try:
        counts.record_if_later(tick["schedule"], "last_tick_ms", ms_of_iso(tick["scheduled_time"]))
    except (ClientError, BotoCoreError) as error:
        logger.warning("the time of the tick was not recorded", extra={"error": str(error)})


def _to_catch_up(page: list[str], tick: Tick) -> list[str]:
    """Returns the jobs of a page that catch up. It reads the jobs, because the index lacks their past."""
    missed_ms = ms_of_iso(tick["scheduled_time"])
    return [
        job["job_key"]
        for start in range(0, len(page), _JOBS_PER_READ)
        for job in store.read_many(page[start : start + _JOBS_PER_READ])
        if wants_catch_up(job, tick["schedule"], missed_ms)
    ]


def _execution_id(job_key: str, tick: Tick, suffix: str = "") -> str:
    return execution_id(job_guid(*split_job_key(job_key)), ms_of_iso(tick["scheduled_time"]), suffix)


def _start(
    job_key: str,
    limits: TaskLimits,
    workflow_type: WorkflowType,
    tick: Tick,
    delivery_id: str,
    has_own_trace: bool,
    suffix: str,
) -> str:
    service_name, job_name = split_job_key(job_key)
    name = _execution_id(job_key, tick, suffix)
    due: Start = {
        "service_name": service_name,
        "job_name": job_name,
        "job_guid": job_guid(service_name, job_name),
        "execution_id": name,
        "schedule": tick["schedule"],
        "scheduled_time": tick["scheduled_time"],
        "delivery_id": delivery_id,
        "workflow_type": workflow_type,
        **limits,
    }
    try:
        return "started" if start_machine(due, has_own_trace) else "already started"
    except (ClientError, BotoCoreError) as error:
        about = {"service_name": service_name, "job_name": job_name, "execution_id": name}
        logger.warning("not started yet", extra={**about, "error": str(error)})
        return "failed"
