"""For which times a job is to be backfilled.

Of a ``cron``, an ``at`` and a rate with a start, the fire times are known. EventBridge counts any other rate
from when its trigger was put. So its times are counted from the ticks that the history of the job has: within
a gap from the tick before it, before the first tick backwards. If the history has none in the range, they are
counted from the last known tick of the schedule.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

from jobmanager.core.clock import ms_of_iso, ms_of_stamp
from jobmanager.core.names import job_guid, stamp_of_execution, suffix_of_execution
from jobmanager.executions import store
from jobmanager.executions.moved import MOVED
from jobmanager.jobs import activity
from jobmanager.jobs.definition import Job
from jobmanager.jobs.timing import schedule_key, timing_of_job
from jobmanager.schedules import counts
from jobmanager.schedules.fire_times import fire_times_within, fired_within, next_of_rate, period_ms

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
    guid = job_guid(job["service_name"], job["job_name"])
    ticks = list(_ticks(store.ids_of_job(guid, since_ms, until_ms)))
    timing = timing_of_job(job)
    if timing.has_known_times:
        times = fire_times_within(timing, since_ms - 1, since_ms, until_ms - 1)
        times = [ms // 1000 * 1000 for ms in times]
    else:
        times = _times_of_rate(job, ticks, since_ms, timing.until(until_ms - 1))
    if not only_missed:
        return times
    known = set(ticks)
    return [ms for ms in times if ms not in known and not _was_on_another_schedule(job, ms)]


def _ticks(execution_ids: Iterable[str]) -> Iterator[int]:
    """Yields the times of the executions that ran for a fire time, and not by hand."""
    last = None
    for each in execution_ids:
        suffix = suffix_of_execution(each)
        at_ms = ms_of_stamp(stamp_of_execution(each))
        if at_ms != last and (suffix in ("", MOVED) or suffix.startswith(BACKFILLED)):
            yield at_ms
            last = at_ms


def _times_of_rate(job: Job, ticks: list[int], since_ms: int, until_ms: int) -> list[int]:
    period = period_ms(job["schedule"])
    if not ticks:
        first = next_of_rate(job["schedule"], _anchor_ms(job) % period, since_ms - 1)
        return list(range(first, until_ms + 1, period))
    before = sorted(range(ticks[0] - period, since_ms - 1, -period))
    between: list[int] = []
    for tick, next_tick in pairwise(ticks):
        missing = round((next_tick - tick) / period) - 1
        between += [tick, *(tick + number * period for number in range(1, missing + 1))]
    return [*before, *between, *range(ticks[-1], until_ms + 1, period)]


def _anchor_ms(job: Job) -> int:
    """Returns a time from which a rate may be counted, in whole seconds."""
    item = counts.find(schedule_key(job)) or {}
    anchor = item.get("last_tick_ms", item.get("since_ms", ms_of_iso(job["created_at"])))
    return int(anchor) // 1000 * 1000


def _was_on_another_schedule(job: Job, at_ms: int) -> bool:
    then = activity.schedules_at(job, at_ms)
    return bool(then) and schedule_key(job) not in then
