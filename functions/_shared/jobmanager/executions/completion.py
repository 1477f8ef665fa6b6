"""Completes the jobs on schedules that never fire again, and removes their triggers.

A tick finds its jobs by the schedule that they are on. So jobs must not leave their schedule while a tick of
it may still start them. A job is completed in two runs of the reconciler:

1. The first that sees that the schedule never fires again, and that each of its ticks was delivered, or was
   missed and published, records the time in the schedules table (``ended_ms``).
2. The first that comes a grace period later, and at least five minutes later, completes each job whose
   execution for the last tick has begun. A spread job may start as much later as its spread is long, so it is
   completed as much later.

The last tick of other jobs was missed, or is still being tried. An invocation of start_due_executions may
try for 15 minutes. Lambda keeps it for an hour, and retries it twice within that time:
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
So these jobs are completed an hour and a quarter later. A tick that is redriven after that starts none of
them.

Each step is safe to repeat, and safe beside another reconciler. If a run dies between the jobs and the
trigger, the next one finds a schedule without jobs, and removes its trigger as an orphaned one.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.aws.clients import dynamodb, events, fast_failing_sns, scheduler
from jobmanager.core.errors import ManagerError
from jobmanager.core.names import execution_id, job_guid, split_job_key
from jobmanager.core.settings import number_setting
from jobmanager.executions import store as executions
from jobmanager.jobs import changes, store
from jobmanager.jobs.definition import MANAGER
from jobmanager.runtime.logs import logger
from jobmanager.runtime.tracing import trace_in_threads
from jobmanager.schedules import counts
from jobmanager.schedules.expression import InvalidSchedule
from jobmanager.schedules.fire_times import fires_again
from jobmanager.schedules.keys import timing_of
from jobmanager.schedules.triggers import settle

_TICKS = ("last_tick_ms", "missed_until_ms")
_AT_ONCE = 8
_SHORTEST_WAIT_MS = 300_000
_FOR_RETRIES_MS = 4_500_000
_PAGE = 100
# Enough for a page of jobs even if the calls are slow, and for a trigger.
_TIME_FOR_A_PAGE_MS = 6_000


class Completions(NamedTuple):
    """How many jobs were completed, and how many of them and of the triggers failed. Both may be retried."""

    completed: int = 0
    failed: int = 0


def complete_jobs(at_ms: int, remaining_ms: Callable[[], int]) -> Completions:
    """Completes jobs until the time is nearly up; the next run goes on. What fails is logged.

    A job that is changed meanwhile is completed only if it is still on the schedule that has ended.
    """
    for client in (dynamodb, events, fast_failing_sns, scheduler):
        client()  # created here and cached, so that the threads do not each create one
    ended = [item for item in counts.all_items() if item["job_count"] > 0 and _has_ended(item)]
    with _pool() as schedules, _pool() as jobs:
        done = list(schedules.map(partial(_complete_schedule, jobs, at_ms, remaining_ms), ended))
    if any(is_left for _, is_left in done):
        logger.warning("some jobs were left to be completed by the next run")
    return Completions(sum(each.completed for each, _ in done), sum(each.failed for each, _ in done))


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_AT_ONCE, initializer=trace_in_threads())


def _complete_schedule(
    pool: ThreadPoolExecutor, at_ms: int, remaining_ms: Callable[[], int], item: dict[str, Any]
) -> tuple[Completions, bool]:
    """Completes the jobs of a schedule that has ended, and removes its trigger.

    Also returns whether some were left, because the time was nearly up.
    """
    completed, failed, waiting = 0, 0, 0
    schedule = item["schedule"]
    try:
        if not _was_seen_to_end(item, at_ms):
            return Completions(), False
        for page in store.pages_of_due(schedule, None, _PAGE):
            if remaining_ms() < _TIME_FOR_A_PAGE_MS:
                return Completions(completed, failed), True
            keys = _started(page, item, at_ms)
            waiting += len(page) - len(keys)
            of_page = list(pool.map(partial(_complete, schedule, at_ms), keys))
            completed += of_page.count(True)
            failed += of_page.count(None)
        if not waiting:
            settle(schedule)
    except (ClientError, BotoCoreError, ManagerError) as error:
        logger.error("schedule was not completed", extra={"schedule": schedule, "error": str(error)})
        failed += 1
    return Completions(completed, failed), False


def _was_seen_to_end(item: dict[str, Any], at_ms: int) -> bool:
    """Whether an earlier run has seen that a schedule has ended. Records when it is first seen."""
    if "ended_ms" not in item:
        counts.record_if_later(item["schedule"], "ended_ms", at_ms)
        return False
    return True


def _started(page: list[store.DueJob], item: dict[str, Any], at_ms: int) -> list[str]:
    """Returns the job_keys of the jobs of an ended schedule that have started for the last time."""
    over = [job for job in page if _waited_ms(job, item, at_ms) >= _grace_ms()]
    tick_ms = max((item[name] for name in _TICKS if name in item), default=None)
    if tick_ms is None:
        return [job["job_key"] for job in over]
    names = {job["job_key"]: execution_id(job_guid(*split_job_key(job["job_key"])), tick_ms) for job in over}
    begun = {record["execution_id"] for record in executions.find_many(list(names.values()))}
    return [
        job["job_key"]
        for job in over
        if names[job["job_key"]] in begun or _waited_ms(job, item, at_ms) >= _FOR_RETRIES_MS
    ]


def _waited_ms(job: store.DueJob, item: dict[str, Any], at_ms: int) -> int:
    """Returns how long ago a job of an ended schedule was to start for the last time."""
    return int(at_ms - item["ended_ms"] - job.get("spread_seconds", 0) * 1000)


def _grace_ms() -> int:
    """How long the last tick may take to come, even if the grace period is shorter."""
    return max(number_setting("MISSED_TICK_GRACE_SECONDS") * 1000, _SHORTEST_WAIT_MS)


def _has_ended(item: dict[str, Any]) -> bool:
    """Whether a schedule never fires again after its last tick that was delivered, or published as missed."""
    known_ms = counts.accounted_until_ms(item)
    try:
        return known_ms is not None and not fires_again(timing_of(item["schedule"]), known_ms)
    except InvalidSchedule as error:
        logger.error("the times of a schedule are unknown", extra={"error": str(error)})
        return False


def _complete(schedule: str, at_ms: int, job_key: str) -> bool | None:
    """Returns whether the job was completed; None if that failed."""
    service_name, job_name = split_job_key(job_key)
    try:
        return changes.complete(service_name, job_name, schedule, MANAGER, at_ms)
    except (ClientError, BotoCoreError, ManagerError) as error:
        logger.error("job was not completed", extra={"job_key": job_key, "error": str(error)})
        return None
