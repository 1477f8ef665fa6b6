"""A tick: one execution is started for each job with the schedule of the rule that fired.

The name of an execution is made of the job's guid and the tick's scheduled_time, and Step Functions accepts
each name only once. So a tick may be delivered twice, at the same time, or again after it failed half way.

reconcile_schedules sends a missed tick, with ``catch_up``. Then only the jobs that want it are started. If
EventBridge delivers that tick after all, the names are the same. The missed times of a rate are estimates, so
those names may differ by a second.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NotRequired, TypedDict

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.aws.clients import step_functions, step_functions_apart
from jobmanager.core.clock import ms_of_iso
from jobmanager.core.errors import TickIncomplete
from jobmanager.core.names import execution_id, job_guid, split_job_key
from jobmanager.core.retry import Pause, tries
from jobmanager.executions.machine import start_machine
from jobmanager.jobs import store
from jobmanager.jobs.definition import is_to_catch_up
from jobmanager.runtime.logs import logger
from jobmanager.runtime.tracing import continued_in_threads
from jobmanager.schedules import counts

_PAGE = 1000
_STARTS_AT_ONCE = 32
_JOBS_A_READ = 100

# X-Ray keeps 100 KB of a trace for sure, and may freeze a larger one; a run fills some 15. So the executions
# of a tick go on in its trace only if they are few:
# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html
_MOST_IN_ONE_TRACE = 5

# A page takes 4 s at the rate to which AWS throttles StartExecution, 300 a second; this is time for many
# rounds: https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
_TIME_FOR_A_PAGE_MS = 90_000
_LONGEST_PAUSE_SECONDS = 8.0


class Tick(TypedDict):
    """A firing of a rule; ``after``, a job_key, if an earlier invocation got as far as that."""

    schedule: str
    scheduled_time: str
    catch_up: NotRequired[bool]
    after: NotRequired[str]


def start_due_executions(
    tick: Tick,
    remaining_ms: Callable[[], int],
    hand_over: Callable[[Tick], None],
    pause: Pause | None = None,
) -> int:
    """Starts the executions of a tick, page by page, and answers how many it started.

    ``tick``: ``{schedule, scheduled_time}``, ``catch_up`` if it was missed, and ``after``, a job_key, if an
    earlier invocation got there. That the tick was begun is noted meanwhile.
    With too little time left for another page, ``hand_over`` is given the rest of the tick.
    Raises TickIncomplete if some start failed until there was no time left, after it tried all others.
    """
    started, failed = 0, 0
    step_functions()  # made here once, or each thread of the pool would make its own
    with ThreadPoolExecutor(_STARTS_AT_ONCE, initializer=continued_in_threads()) as pool:
        if not tick.get("catch_up") and "after" not in tick:
            pool.submit(_note_tick, tick)
        for page in store.pages_of_schedule(tick["schedule"], tick.get("after"), _PAGE):
            started_here, failed_here = _start_jobs_of_page(pool, page, tick, remaining_ms, pause)
            started += started_here
            failed += failed_here
            if len(page) == _PAGE and remaining_ms() < 2 * _TIME_FOR_A_PAGE_MS:
                hand_over({**tick, "after": page[-1]})
                break
    logger.info(
        "tick", extra={"started": started, "failed": failed, "scheduled_time": tick["scheduled_time"]}
    )
    if failed:
        raise TickIncomplete(f"{failed} executions were not started; the tick must be delivered again")
    return started


def _start_jobs_of_page(
    pool: ThreadPoolExecutor,
    page: list[str],
    tick: Tick,
    remaining_ms: Callable[[], int],
    pause: Pause | None,
) -> tuple[int, int]:
    """Starts a page in rounds: what is throttled in one waits, with all others, for the next.

    The SDK's adaptive mode is not used: it goes on slowing all starts down long after some were throttled.
    """
    started = 0
    pending = _to_catch_up(page, tick) if tick.get("catch_up") else page
    have_own_traces = len(pending) > _MOST_IN_ONE_TRACE
    if have_own_traces:
        step_functions_apart()  # likewise
    for _ in tries(None, 1.0, _LONGEST_PAUSE_SECONDS, pause):
        outcomes = list(pool.map(lambda key: _start(key, tick, have_own_traces), pending))
        started += outcomes.count("started")
        pending = [key for key, outcome in zip(pending, outcomes, strict=True) if outcome == "failed"]
        if not pending or remaining_ms() < _TIME_FOR_A_PAGE_MS:
            break
    return started, len(pending)


def _note_tick(tick: Tick) -> None:
    """What the reconciler goes by; if it cannot be noted, the tick is none the worse."""
    try:
        counts.note_later(tick["schedule"], "last_tick_ms", ms_of_iso(tick["scheduled_time"]))
    except (ClientError, BotoCoreError) as error:
        logger.warning("the tick was not noted", extra={"error": str(error)})


def _to_catch_up(page: list[str], tick: Tick) -> list[str]:
    """The index has keys only, so the jobs themselves are read; missed ticks are rare."""
    missed_ms = ms_of_iso(tick["scheduled_time"])
    return [
        job["job_key"]
        for start in range(0, len(page), _JOBS_A_READ)
        for job in store.many(page[start : start + _JOBS_A_READ])
        if is_to_catch_up(job, tick["schedule"], missed_ms)
    ]


def _start(job_key: str, tick: Tick, has_own_trace: bool) -> str:
    service_name, job_name = split_job_key(job_key)
    guid = job_guid(service_name, job_name)
    name = execution_id(guid, ms_of_iso(tick["scheduled_time"]))
    due = {
        "service_name": service_name,
        "job_name": job_name,
        "job_guid": guid,
        "execution_id": name,
        "schedule": tick["schedule"],
        "scheduled_time": tick["scheduled_time"],
    }
    try:
        return "started" if start_machine(due, has_own_trace) else "already started"
    except (ClientError, BotoCoreError) as error:
        about = {"service_name": service_name, "job_name": job_name, "execution_id": name}
        logger.warning("not started yet", extra={**about, "error": str(error)})
        return "failed"
