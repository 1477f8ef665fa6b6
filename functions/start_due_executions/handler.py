"""A tick: starts one execution of each job that has the schedule of the rule that fired.

The name of an execution is made of the job's guid and the tick's scheduled_time, and Step Functions takes
each name only once. So a tick may be delivered twice, at once, or again after it failed half way.

A tick that was missed comes from reconcile_schedules, with ``catch_up``: then only those jobs are started
that want it. If EventBridge delivers that tick after all, the names are the same; of a rate, whose missed
times are reckoned, they may differ by a second.
"""

import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.aws.clients import lambdas, step_functions, step_functions_apart
from jobmanager.aws.items import from_item, to_item
from jobmanager.aws.tables import query_pages
from jobmanager.core.clock import ms_of_iso
from jobmanager.core.errors import TickIncomplete
from jobmanager.core.names import execution_id, job_guid, split_job_key
from jobmanager.core.settings import setting
from jobmanager.executions.machine import start_machine
from jobmanager.jobs import store as jobs
from jobmanager.runtime.logs import logger
from jobmanager.runtime.step import step
from jobmanager.runtime.tracing import continued_in_threads
from jobmanager.schedules import counts as schedules

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

type Pause = Callable[[float], None]


def start_due_executions(
    tick: dict[str, Any],
    remaining_ms: Callable[[], int],
    hand_over: Callable[[dict[str, Any]], None],
    pause: Pause = time.sleep,
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
            pool.submit(_note, tick)
        for page in _pages_of_due_jobs(tick["schedule"], tick.get("after")):
            started_here, failed_here = _start_page(pool, page, tick, remaining_ms, pause)
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


def _start_page(
    pool: ThreadPoolExecutor,
    page: list[str],
    tick: dict[str, Any],
    remaining_ms: Callable[[], int],
    pause: Pause,
) -> tuple[int, int]:
    """Starts a page in rounds: what is throttled in one waits, with all others, for the next.

    The SDK's adaptive mode is not used: it goes on slowing all starts down long after some were throttled.
    """
    started, longest_pause = 0, 1.0
    pending = _to_catch_up(page, tick) if tick.get("catch_up") else page
    have_own_traces = len(pending) > _MOST_IN_ONE_TRACE
    if have_own_traces:
        step_functions_apart()  # likewise
    while pending:
        outcomes = list(pool.map(lambda key: _start(key, tick, have_own_traces), pending))
        started += outcomes.count("started")
        pending = [key for key, outcome in zip(pending, outcomes, strict=True) if outcome == "failed"]
        if not pending or remaining_ms() < _TIME_FOR_A_PAGE_MS:
            break
        pause(random.uniform(0.5, 1.0) * longest_pause)
        longest_pause = min(2 * longest_pause, _LONGEST_PAUSE_SECONDS)
    return started, len(pending)


def _note(tick: dict[str, Any]) -> None:
    """What the reconciler goes by; if it cannot be noted, the tick is none the worse."""
    try:
        schedules.note_later(tick["schedule"], "last_tick_ms", ms_of_iso(tick["scheduled_time"]))
    except (ClientError, BotoCoreError) as error:
        logger.warning("the tick was not noted", extra={"error": str(error)})


def _to_catch_up(page: list[str], tick: dict[str, Any]) -> list[str]:
    """The index has keys only, so the jobs themselves are read; missed ticks are rare."""
    missed_ms = ms_of_iso(tick["scheduled_time"])
    return [
        job["job_key"]
        for start in range(0, len(page), _JOBS_A_READ)
        for job in jobs.many(page[start : start + _JOBS_A_READ])
        if jobs.is_to_catch_up(job, tick["schedule"], missed_ms)
    ]


def _pages_of_due_jobs(schedule: str, after: str | None) -> Iterator[list[str]]:
    start: dict[str, Any] = {"ExclusiveStartKey": _index_key(schedule, after)} if after else {}
    pages = query_pages(
        TableName=setting("JOBS_TABLE"),
        IndexName="by_schedule",
        KeyConditionExpression="active_schedule = :schedule",
        ExpressionAttributeValues=to_item({":schedule": schedule}),
        Limit=_PAGE,
        **start,
    )
    for page in pages:
        yield [from_item(item)["job_key"] for item in page["Items"]]


def _index_key(schedule: str, job_key: str) -> dict[str, dict[str, str]]:
    service_name, job_name = split_job_key(job_key)
    return to_item(
        {
            "active_schedule": schedule,
            "job_key": job_key,
            "service_name": service_name,
            "job_name": job_name,
        }
    )


def _start(job_key: str, tick: dict[str, Any], has_own_trace: bool) -> str:
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


@step
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """A tick as :func:`start_due_executions` has it, from the rule's input transformer or as a missed one."""

    def hand_over(rest: dict[str, Any]) -> None:
        lambdas().invoke(
            FunctionName=context.function_name, InvocationType="Event", Payload=json.dumps(rest).encode()
        )

    return {"started": start_due_executions(event, context.get_remaining_time_in_millis, hand_over)}
