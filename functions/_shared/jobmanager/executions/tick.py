"""Handles a tick: starts one execution for each job on the schedule of the trigger that fired.

Each job starts once, however often a tick is delivered: see :mod:`jobmanager.executions.start_jobs`. Spread
jobs start later: see :mod:`jobmanager.executions.delayed_starts`.

The index by which a tick finds its jobs has what the state machine must know before an execution begins: how
long it waits. So a tick reads no job. If the job has changed meanwhile, run_execution corrects the limits.

A tick of many jobs is split into parts, see tick_parts. To this module a part is a tick of fewer jobs.

reconcile_schedules sends missed ticks with ``catch_up``: see :mod:`jobmanager.executions.catch_up`. If
EventBridge delivers such a tick later after all, the names are the same. The missed times of a rate are
estimates, so there the names may differ by a second.
"""

from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.core.clock import ms_of_iso
from jobmanager.core.errors import TickIncomplete
from jobmanager.core.retry import Pause
from jobmanager.executions import tick_parts
from jobmanager.executions.catch_up import CatchUp
from jobmanager.executions.delayed_starts import start_or_delay
from jobmanager.executions.start_jobs import Budget, Started, thread_pool
from jobmanager.executions.tick_parts import Tick
from jobmanager.jobs import store
from jobmanager.runtime.logs import logger
from jobmanager.schedules import counts

_PAGE = 1000

# AWS throttles StartExecution to 150 a second in most regions. If four parts of a tick share them, a page
# takes 27 s. This leaves time for many rounds:
# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
_TIME_FOR_A_PAGE_MS = 90_000


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
    done = Started()
    is_whole = "after" not in tick
    catch_up = CatchUp(tick) if tick.get("catch_up") else None
    budget = Budget(remaining_ms, _TIME_FOR_A_PAGE_MS, pause)
    is_short_of_time = budget._replace(reserve_ms=2 * _TIME_FOR_A_PAGE_MS)
    after = tick.get("after", "")
    with thread_pool() as pool:
        if is_whole and not catch_up:
            pool.submit(_record_tick, tick)
        for page in store.pages_of_due(tick["schedule"], after, _PAGE, tick.get("until")):
            if is_whole and len(page) == _PAGE and (jobs := _job_count(tick)) >= tick_parts.MIN_JOBS:
                _split(tick, jobs, hand_over)
                return 0
            is_whole = False
            if catch_up is None:
                done = done.plus(start_or_delay(pool, page, tick, budget))
            else:
                of_page, done_until_ms = catch_up.start(pool, page, budget, is_short_of_time)
                done = done.plus(of_page)
                if done_until_ms is not None:
                    rest: Tick = {**tick, "after": after, "until": page[-1]["job_key"]}
                    hand_over({**rest, "caught_up_ms": done_until_ms})
            is_last = len(page) < _PAGE or page[-1]["job_key"] == tick.get("until")
            if not is_last and is_short_of_time.is_used_up:
                hand_over({**tick, "after": page[-1]["job_key"]})
                break
            after = page[-1]["job_key"] if page else after
    logger.info(
        "tick handled",
        extra={**done._asdict(), "scheduled_time": tick["scheduled_time"]},
    )
    if done.failed:
        raise TickIncomplete(f"{done.failed} executions were not started; the tick must be delivered again")
    return done.started


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


def _record_tick(tick: Tick) -> None:
    """Records the time of the tick for the reconciler. A failure is only logged."""
    try:
        counts.record_if_later(tick["schedule"], "last_tick_ms", ms_of_iso(tick["scheduled_time"]))
    except (ClientError, BotoCoreError) as error:
        logger.warning("the time of the tick was not recorded", extra={"error": str(error)})
