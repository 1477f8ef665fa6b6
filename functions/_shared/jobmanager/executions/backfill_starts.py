"""Starts the executions of a backfill, one after the other, oldest first.

Their names follow from their times, so an invocation that is repeated starts nothing twice: see
:mod:`jobmanager.executions.backfill`. They begin as those of a tick do: an exclusive job skips the times that
come while its lock is held.
"""

from typing import TypedDict

from botocore.exceptions import BotoCoreError, ClientError

from jobmanager.core.clock import iso
from jobmanager.core.errors import TickIncomplete
from jobmanager.core.names import execution_id
from jobmanager.core.retry import tries
from jobmanager.executions.machine import start_machine
from jobmanager.executions.record import BackfillOf
from jobmanager.executions.start_jobs import MAX_IN_ONE_TRACE, Budget, Firing, start_of
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job
from jobmanager.runtime.logs import logger

_LONGEST_PAUSE_SECONDS = 8.0


class Starts(TypedDict):
    """The executions of a job that a backfill is to start, by the seconds since 1970 of their times."""

    job_key: str
    backfill_of: BackfillOf
    suffix: str
    times: list[int]


class BackfillTick(Firing):
    """What start_due_executions gets for a backfill, in the form of a tick of the oldest time."""

    backfill: Starts


def start_backfill(tick: BackfillTick, budget: Budget) -> int:
    """Starts the executions of a backfill, oldest first; returns how many it started.

    Raises TickIncomplete if some were not started in time. Invoked again, it starts only these.
    """
    starts = tick["backfill"]
    found = jobs.read_many([starts["job_key"]])
    if not found:
        logger.info("the job to backfill was deleted", extra={"job_key": starts["job_key"]})
        return 0
    started = 0
    has_own_trace = len(starts["times"]) > MAX_IN_ONE_TRACE
    for number, seconds in enumerate(starts["times"]):
        outcome = _start(found[0], tick, seconds * 1000, has_own_trace, budget)
        if outcome is None:
            left = len(starts["times"]) - number
            raise TickIncomplete(f"{left} executions of a backfill were not started; it must be repeated")
        started += outcome
    logger.info("backfill started", extra={"started": started, **starts["backfill_of"]})
    return started


def _start(job: Job, tick: BackfillTick, at_ms: int, has_own_trace: bool, budget: Budget) -> bool | None:
    """Starts the execution of one time; False if it was started before, None if the time is up."""
    starts = tick["backfill"]
    name = execution_id(job["job_guid"], at_ms, starts["suffix"])
    due = start_of(job, name, tick["schedule"], iso(at_ms))
    due["backfill_of"] = starts["backfill_of"]
    due["starts_at"] = starts["backfill_of"]["requested_at"]
    for _ in tries(None, 1.0, _LONGEST_PAUSE_SECONDS, budget.pause):
        if budget.is_used_up:
            break
        try:
            return start_machine(due, has_own_trace)
        except (ClientError, BotoCoreError) as error:
            logger.warning("not started yet", extra={"execution_id": name, "error": str(error)})
    return None
