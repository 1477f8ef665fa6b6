"""Starts jobs for ticks that were missed, oldest first.

A job with ``catch_up`` ``one`` starts for the latest of the missed ticks. One with ``all`` starts for each of
the last ``catch_up_window_seconds``, for the latest 1,000 at most. All jobs of a page start for one time
before any starts for the next one. So each job starts in the order of its ticks, and a start that keeps
failing ends the page. Step Functions runs the starts independently of each other, so a later one may begin
while an earlier one still runs, or, within the same second, before it. An exclusive job skips it then.

A job that is spread starts at its offset after each time. That has nearly always passed, so it starts now.
"""

from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice

from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.executions.delayed_starts import start_or_delay
from jobmanager.executions.start_jobs import Budget, Firing, Started
from jobmanager.executions.tick_parts import Tick
from jobmanager.jobs.activity import wants_catch_up
from jobmanager.jobs.definition import MAX_CATCH_UP_WINDOW_SECONDS, Job
from jobmanager.jobs.store import DueJob, read_many
from jobmanager.schedules.fire_times import fire_times_within
from jobmanager.schedules.keys import timing_of

_MAX_STARTS_OF_A_JOB = 1000
_JOBS_PER_READ = 100


class CatchUp:
    """The missed ticks of one schedule, as the reconciler has sent them."""

    def __init__(self, tick: Tick) -> None:
        self._tick = tick
        self._last_ms = ms_of_iso(tick["scheduled_time"])

    def start(
        self, pool: ThreadPoolExecutor, page: Sequence[DueJob], budget: Budget, short_of_time: Budget
    ) -> tuple[Started, int | None]:
        """Starts the jobs of a page for each of their missed times.

        If it becomes ``short_of_time``, it also returns the time (ms since 1970) until which it has started
        them; else None.
        """
        wanted = self._wanted(page)
        done = Started()
        have_own_traces = len(wanted) > 1
        for number, at_ms in enumerate(sorted(wanted), 1):
            firing: Firing = {"schedule": self._tick["schedule"], "scheduled_time": iso(at_ms)}
            done = done.plus(start_or_delay(pool, wanted[at_ms], firing, budget, have_own_traces))
            if done.failed:
                break
            if number < len(wanted) and short_of_time.is_used_up:
                return done, at_ms
        return done, None

    def _wanted(self, page: Sequence[DueJob]) -> dict[int, list[DueJob]]:
        """Returns the jobs to start for each time. It reads the jobs, because the index lacks their past."""
        of_key = {job["job_key"]: job for job in page}
        keys = list(of_key)
        wanted: dict[int, list[DueJob]] = {}
        for start in range(0, len(keys), _JOBS_PER_READ):
            for job in read_many(keys[start : start + _JOBS_PER_READ]):
                for at_ms in self._times_of(job):
                    wanted.setdefault(at_ms, []).append(of_key[job["job_key"]])
        return wanted

    def _times_of(self, job: Job) -> list[int]:
        """Returns the times for which a job is still to be started, oldest first."""
        times = [self._last_ms]
        if job.get("catch_up") == "all" and "found_ms" in self._tick:
            since_ms = self._tick["found_ms"] - job["catch_up_window_seconds"] * 1000
            times = self._missed[bisect_left(self._missed, since_ms) :]
        newest_first = (ms for ms in reversed(times) if wants_catch_up(job, self._tick["schedule"], ms))
        wanted = list(islice(newest_first, _MAX_STARTS_OF_A_JOB))
        return [ms for ms in reversed(wanted) if ms > self._tick.get("caught_up_ms", 0)]

    @cached_property
    def _missed(self) -> list[int]:
        """All missed times that any job may want, oldest first, in whole seconds."""
        earliest_ms = self._tick["found_ms"] - MAX_CATCH_UP_WINDOW_SECONDS * 1000
        times = fire_times_within(
            timing_of(self._tick["schedule"]),
            self._tick["missed_after_ms"],
            earliest_ms,
            self._last_ms + 999,
        )
        return [ms // 1000 * 1000 for ms in times]
