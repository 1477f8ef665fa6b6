"""For which times a job is to be backfilled.

Of a ``cron``, an ``at`` and a rate with a start, the fire times are known. EventBridge counts any other rate
from when its trigger was put. So its times are counted from the ticks that the history of the job has: within
a gap from the tick before it, before the first tick backwards. If the history has none in the range, they are
counted from the last known tick of the schedule.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

from jobmanager.core.clock import ms_of_iso, ms_of_stamp
from jobmanager.core.names import stamp_of_execution, suffix_of_execution
from jobmanager.executions import store
from jobmanager.executions.moved import MOVED
from jobmanager.jobs import activity
from jobmanager.jobs.definition import Job
from jobmanager.jobs.timing import schedule_key, timing_of_job
from jobmanager.schedules import counts
from jobmanager.schedules.fire_times import fire_times_within, fired_within, period_ms

BACKFILLED = "b"
"""How the suffix of an execution begins that a backfill of all times has started."""


def fire_count(job: Job, since_ms: int, until_ms: int) -> int:
    """Counts how often the schedule of a job fires from one time to before another."""
    fired = fired_within(timing_of_job(job), since_ms - 1, until_ms - 1)
    return fired.count if fired else 0


def times_of(job: Job, since_ms: int, until_ms: int, only_missed: bool) -> list[int]:
    """Returns the fire times of a job from one time to before another, oldest first.

    All are in ms since 1970, and in whole seconds. With ``only_missed`` those that the history has no
    execution of: also the times at which the job was disabled or paused, but not those before it was created,
    nor those at which it was on another schedule.
    """
    if only_missed:
        since_ms = max(since_ms, ms_of_iso(job["created_at"]))
    ticks = list(_ticks(store.ids_of_job(job["job_guid"], since_ms, until_ms)))
    timing = timing_of_job(job)
    if ticks and not timing.has_known_times:
        times = _times_around(ticks, period_ms(timing.schedule), since_ms, timing.until(until_ms - 1))
    else:
        counted_from_ms = since_ms - 1 if timing.has_known_times else _first_ms(job)
        times = fire_times_within(timing, counted_from_ms, since_ms, until_ms - 1)
    if not only_missed:
        return times
    known, key = set(ticks), schedule_key(job)
    return [ms for ms in times if ms not in known and not _was_on_another_schedule(job, key, ms)]


def _ticks(execution_ids: Iterable[str]) -> Iterator[int]:
    """Yields the times of the executions that ran for a fire time, and not by hand."""
    last = None
    for each in execution_ids:
        suffix = suffix_of_execution(each)
        at_ms = ms_of_stamp(stamp_of_execution(each))
        if at_ms != last and (suffix in ("", MOVED) or suffix.startswith(BACKFILLED)):
            yield at_ms
            last = at_ms


def _times_around(ticks: list[int], period: int, since_ms: int, until_ms: int) -> list[int]:
    """Returns the times of a rate between two times: its ticks, and those before, between and after them."""
    before = sorted(range(ticks[0] - period, since_ms - 1, -period))
    between: list[int] = []
    for tick, next_tick in pairwise(ticks):
        missing = round((next_tick - tick) / period) - 1
        between += [tick, *(tick + number * period for number in range(1, missing + 1))]
    return [*before, *between, *range(ticks[-1], until_ms + 1, period)]


def _first_ms(job: Job) -> int:
    """Returns the first time since 1970 from which the rate of a job may be counted, in whole seconds."""
    item = counts.find(schedule_key(job)) or {}
    anchor = item.get("last_tick_ms", item.get("since_ms", ms_of_iso(job["created_at"])))
    return int(anchor) // 1000 * 1000 % period_ms(job["schedule"])


def _was_on_another_schedule(job: Job, key: str, at_ms: int) -> bool:
    then = activity.schedules_at(job, at_ms)
    return bool(then) and key not in then
