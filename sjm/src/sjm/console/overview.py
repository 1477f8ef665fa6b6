"""What the page ``now`` shows: what runs, what failed, what is late, and what comes next."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from functools import cached_property
from typing import Any, cast

from sjm.client import BadRequest, Execution, Manager, Page, SavedJob, Schedule, SchedulePage
from sjm.console import outcomes, refusals, words
from sjm.console.reading import EXECUTIONS, JOBS, SCHEDULES, SEARCH, Reading, Readings

# Seconds between reads. `RECENT` finds what starts and what ends soon after it started; the searches by
# status, which cost ten times as much, find the rest.
RECENT_EVERY = 5
SEARCH_EVERY = 30
SCHEDULES_EVERY = 120
JOBS_EVERY = 300
DAY_EVERY = 300

PAGE_SIZE = 100
_SCHEDULE_PAGES = 3
_DAY_PAGES = 5
_UPCOMING = 8
_JOBS_OF_A_SCHEDULE = 5
_LATE_MS = 60_000


@dataclass(frozen=True)
class Upcoming:
    """The next ticks of a schedule, given by its key, and some of the jobs that they will start.

    ``times_ms`` are in milliseconds since 1970. ``is_estimate``: EventBridge does not say when a rate fires,
    so the only time is one period after its last tick; there is none if no tick is known.
    """

    schedule: str
    times_ms: Sequence[int]
    job_count: int
    jobs: Sequence[SavedJob]
    is_estimate: bool

    @property
    def at_ms(self) -> int | None:
        """The next tick; None if it is not known."""
        return self.times_ms[0] if self.times_ms else None


@dataclass(frozen=True)
class Late:
    """An execution that is late, or a schedule whose rule is out of step."""

    what: str
    execution: Execution | None = None
    schedule: Schedule | None = None


@dataclass(frozen=True)
class Overview:
    """The readings of the page, and what follows from them. ``now_ms`` is in milliseconds since 1970."""

    recent: Reading[Page[Execution]]
    running: Reading[Page[Execution]]
    waiting: Reading[Page[Execution]]
    failed: Reading[Page[Execution]]
    schedules: Reading[SchedulePage]
    upcoming: Sequence[Upcoming]
    since_ms: int
    now_ms: int

    @property
    def _readings(self) -> list[Reading[Any]]:
        return [self.recent, self.running, self.waiting, self.failed, self.schedules]

    @property
    def errors(self) -> list[str]:
        """What could not be read, each once."""
        readings = self._readings
        return list(dict.fromkeys(refusals.told(each.error) for each in readings if each.error is not None))

    @property
    def is_loading(self) -> bool:
        """Whether something has not come yet."""
        return any(each.is_loading for each in self._readings)

    @cached_property
    def executions(self) -> list[Execution]:
        """All that were read, each as it was read last, newest first."""
        return newest_first(merged([self.running, self.waiting, self.failed, self.recent]))

    @property
    def runs(self) -> list[Execution]:
        """What runs."""
        return [each for each in self.executions if each["status"] == outcomes.RUNNING]

    @property
    def waits(self) -> list[Execution]:
        """What waits, the longest first."""
        waiting = [each for each in self.executions if each["status"] == outcomes.WAITING]
        return sorted(waiting, key=began_ms)

    @property
    def failures(self) -> list[Execution]:
        """What failed since yesterday, the last end first."""
        failed = [
            each
            for each in self.executions
            if each["status"] in outcomes.FAILED and ended_ms(each) >= self.since_ms
        ]
        return sorted(failed, key=ended_ms, reverse=True)

    @property
    def late(self) -> list[Late]:
        """What should have happened, and has not; and rules that will not fire."""
        silent = [
            Late("has not reported in time", execution=each)
            for each in self.runs
            if outcomes.is_silent(each, self.now_ms)
        ]
        delayed = [
            Late(f"started {words.duration(_late_ms(each))} late", each)
            for each in self.runs
            if _late_ms(each) > _LATE_MS and not outcomes.is_silent(each, self.now_ms)
        ]
        schedules = self.schedules.value["results"] if self.schedules.value else []
        broken = [
            Late(f"its rule is {each['rule']}", schedule=each)
            for each in schedules
            if each["rule"] != "in step"
        ]
        return [*broken, *silent, *delayed]

    @property
    def has_more_runs(self) -> bool:
        """Whether more run than were read."""
        return _has_more(self.running)

    @property
    def has_more_waits(self) -> bool:
        """Whether more wait than were read."""
        return _has_more(self.waiting)

    @property
    def has_more_failures(self) -> bool:
        """Whether more failed than were read."""
        return _has_more(self.failed)

    @property
    def next_at_ms(self) -> int | None:
        """When something fires next, as far as that is known."""
        return min((each.at_ms for each in self.upcoming if each.at_ms is not None), default=None)

    @property
    def schedules_left(self) -> int | None:
        """How many more schedules with a rule the stage may have."""
        page = self.schedules.value
        return None if page is None else max(0, page["schedule_limit"] - page["rule_count"])


def _has_more(reading: Reading[Page[Execution]]) -> bool:
    return reading.value is not None and "more" in reading.value["paging"]


class Reader:
    """Reads what one request of the page needs, each kind as often as it is worth.

    What has not come within ``patience_seconds`` from now is left for the next request.
    """

    def __init__(self, manager: Manager, readings: Readings, patience_seconds: float) -> None:
        self._manager = manager
        self._readings = readings
        self._deadline = time.monotonic() + patience_seconds

    @property
    def _patience(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    async def overview(self, zone: tzinfo | None, now_ms: int) -> Overview:
        """Reads all parts at the same time."""
        since_ms = start_of_yesterday_ms(zone, now_ms)
        recent, running, waiting, failed, schedules = await asyncio.gather(
            self.recent(), self._running(), self._waiting(), self._failed(since_ms), self.schedules()
        )
        upcoming = await self._upcoming(schedules, recent, now_ms)
        return Overview(recent, running, waiting, failed, schedules, upcoming, since_ms, now_ms)

    async def recent(self) -> Reading[Page[Execution]]:
        """The executions that started last."""
        listing = self._manager.list_executions(by="started_at", limit=PAGE_SIZE)
        return await self._readings.get(
            ("now", "recent"),
            lambda: next(listing.pages()),
            EXECUTIONS,
            RECENT_EVERY,
            patience_seconds=self._patience,
        )

    async def day(self, zone: tzinfo | None, now_ms: int) -> Reading[Page[Execution]]:
        """The last executions since yesterday: as many as a few pages hold."""
        since_ms = start_of_yesterday_ms(zone, now_ms)
        listing = self._manager.list_executions(since=words.iso(since_ms), limit=PAGE_SIZE)
        return await self._readings.get(
            ("now", "day", since_ms),
            lambda: _joined(listing.pages(), _DAY_PAGES),
            EXECUTIONS.times(_DAY_PAGES),
            DAY_EVERY,
            patience_seconds=self._patience,
        )

    async def schedules(self) -> Reading[SchedulePage]:
        """The schedules in use, as one page."""
        listing = self._manager.list_schedules(limit=PAGE_SIZE)

        def read() -> SchedulePage:
            pages = listing.pages()
            whole = cast(SchedulePage, next(pages))
            for _ in range(_SCHEDULE_PAGES - 1):
                page = next(pages, None)
                if page is None:
                    break
                whole = cast(SchedulePage, {**page, "results": [*whole["results"], *page["results"]]})
            return whole

        return await self._readings.get(
            ("now", "schedules"),
            read,
            SCHEDULES.times(_SCHEDULE_PAGES),
            SCHEDULES_EVERY,
            patience_seconds=self._patience,
        )

    async def _running(self) -> Reading[Page[Execution]]:
        listing = self._manager.list_executions(status="running", limit=PAGE_SIZE)
        return await self._readings.get(
            ("now", "running"),
            lambda: next(listing.pages()),
            SEARCH,
            SEARCH_EVERY,
            patience_seconds=self._patience,
        )

    async def _waiting(self) -> Reading[Page[Execution]]:
        listing = self._manager.list_executions(status="waiting", limit=PAGE_SIZE)

        def read() -> Page[Execution]:
            try:
                return next(listing.pages())
            except BadRequest:  # a stage of an earlier version knows no such status
                return {"results": [], "paging": {}}

        return await self._readings.get(
            ("now", "waiting"), read, SEARCH, SEARCH_EVERY, patience_seconds=self._patience
        )

    async def _failed(self, since_ms: int) -> Reading[Page[Execution]]:
        listing = self._manager.list_executions(
            status=["fail", "timeout"], since=words.iso(since_ms), limit=PAGE_SIZE
        )
        return await self._readings.get(
            ("now", "failed", since_ms),
            lambda: next(listing.pages()),
            SEARCH,
            SEARCH_EVERY,
            patience_seconds=self._patience,
        )

    async def _upcoming(
        self, schedules: Reading[SchedulePage], recent: Reading[Page[Execution]], now_ms: int
    ) -> list[Upcoming]:
        used = schedules.value["results"] if schedules.value else []
        ticks = last_ticks(recent.value["results"] if recent.value else [])
        timed = [(each, next_times(each, ticks, now_ms)) for each in used]
        known = sorted((each for each in timed if each[1]), key=lambda each: each[1])
        unknown = [each for each in timed if not each[1] and each[0]["next_fire_times"] is None]
        chosen = [*known, *unknown][:_UPCOMING]
        jobs = await asyncio.gather(*(self._jobs_of(schedule["schedule_key"]) for schedule, _ in chosen))
        return [
            Upcoming(
                schedule["schedule_key"],
                times,
                schedule["job_count"],
                found.value["results"] if found.value else [],
                schedule["next_fire_times"] is None,
            )
            for (schedule, times), found in zip(chosen, jobs, strict=True)
        ]

    async def _jobs_of(self, schedule: str) -> Reading[Page[SavedJob]]:
        listing = self._manager.list_jobs(schedule=schedule, limit=_JOBS_OF_A_SCHEDULE)
        return await self._readings.get(
            ("now", "jobs of", schedule),
            lambda: next(listing.pages()),
            JOBS,
            JOBS_EVERY,
            patience_seconds=self._patience,
        )


def merged(readings: Iterable[Reading[Page[Execution]]]) -> list[Execution]:
    """The executions of several readings, each as it was read last."""
    found: dict[str, Execution] = {}
    for reading in sorted(readings, key=lambda each: each.read_at or 0):
        if reading.value is not None:
            found |= {each["execution_id"]: each for each in reading.value["results"]}
    return list(found.values())


def newest_first(executions: Iterable[Execution]) -> list[Execution]:
    """Sorts by the start."""
    return sorted(executions, key=lambda each: each["started_at_ms"], reverse=True)


def _late_ms(execution: Execution) -> int:
    """How long after its time an execution began; a spread one has a time of its own. A wait is not late."""
    starts_at_ms = words.ms_of(execution.get("starts_at"))
    return began_ms(execution) - (starts_at_ms or execution["scheduled_time_ms"])


def began_ms(execution: Execution) -> int:
    """When an execution started, or since when it waits or has waited before it started."""
    return execution.get("waiting_since_ms", execution["started_at_ms"])


def ended_ms(execution: Execution) -> int:
    """When an execution ended; its start if it has no end."""
    return execution.get("finished_at_ms", execution["started_at_ms"])


def start_of_yesterday_ms(zone: tzinfo | None, now_ms: int) -> int:
    """Midnight of yesterday in a zone."""
    now = words.local(now_ms, zone)
    yesterday = (now - timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return round(yesterday.timestamp() * 1000)


def _joined(pages: Iterable[Page[Execution]], count: int) -> Page[Execution]:
    """So many pages as one, with the ``paging`` of the last."""
    whole: Page[Execution] = {"results": [], "paging": {}}
    for _, page in zip(range(count), pages, strict=False):
        whole = {"results": [*whole["results"], *page["results"]], "paging": page["paging"]}
    return whole


def last_ticks(executions: Iterable[Execution]) -> dict[str, int]:
    """The last tick of each schedule that started one of these. What somebody started is no tick."""
    ticks: dict[str, int] = {}
    for each in executions:
        if "schedule" in each and "started_by" not in each and "rerun_of" not in each:
            ticks[each["schedule"]] = max(ticks.get(each["schedule"], 0), each["scheduled_time_ms"])
    return ticks


def next_times(schedule: Schedule, ticks: dict[str, int], now_ms: int) -> list[int]:
    """When a schedule fires next, in milliseconds since 1970; for a rate at most one time, an estimate."""
    if schedule["next_fire_times"] is not None:
        times = [words.ms_of(each) for each in schedule["next_fire_times"]]
        return [each for each in times if each is not None and each > now_ms]
    period_ms, last_ms = words.period_ms(schedule["schedule"]), ticks.get(schedule["schedule_key"])
    if period_ms is None or last_ms is None:
        return []
    return [last_ms + max(1, -((last_ms - now_ms) // period_ms)) * period_ms]
