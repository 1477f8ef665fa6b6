"""How many other jobs fire in the same minute, from the schedules in use and their counts of jobs."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sjm.review.timing import timing_of_key

# A page has 100 schedules, and for each the stage looks at a rule. A stage has at most 2,000 schedules.
MAX_PAGES = 10


@dataclass(frozen=True)
class Neighbours:
    """The other jobs that fire in one minute.

    ``maybe`` more are on a ``rate(…)``, and only its trigger knows whether it fires then; or in a time zone
    that this machine does not know. ``is_at_least``: not
    all schedules of the stage were looked at.
    """

    minute: datetime
    jobs: int
    maybe: int = 0
    is_at_least: bool = False

    def document(self) -> dict[str, Any]:
        """The counts for programs."""
        return {
            "minute": f"{self.minute.astimezone(UTC):%Y-%m-%dT%H:%MZ}",
            "jobs": self.jobs,
            "maybe": self.maybe,
            "at_least": self.is_at_least,
        }


class SchedulesInUse:
    """The counts of jobs by schedule, as they will be after the changes under review."""

    def __init__(self, counts: Mapping[str, int], is_complete: bool = True) -> None:
        self._counts = Counter(dict(counts))
        self._is_complete = is_complete

    @classmethod
    def of_pages(cls, pages: Iterable[Mapping[str, Any]], max_pages: int = MAX_PAGES) -> "SchedulesInUse":
        """Reads pages of ``GET /schedules``, at most ``max_pages`` of them."""
        counts: dict[str, int] = {}
        for number, page in enumerate(pages, 1):
            counts |= {each["schedule_key"]: each["job_count"] for each in page["results"]}
            if number == max_pages and "more" in page["paging"]:
                return cls(counts, is_complete=False)
        return cls(counts)

    def jobs_of(self, schedule: str) -> int:
        """How many jobs a schedule runs."""
        return max(0, self._counts[schedule])

    def move(self, left: str | None, entered: str | None) -> None:
        """Counts a job that leaves a schedule, and enters another one."""
        if left is not None:
            self._counts[left] -= 1
        if entered is not None:
            self._counts[entered] += 1

    def neighbours(self, minute: datetime, own_schedule: str) -> Neighbours:
        """The jobs that fire in a minute besides one that is on ``own_schedule``, and is counted there."""
        jobs, maybe = -1, 0
        for schedule, count in self._counts.items():
            if count <= 0:
                continue
            if schedule == own_schedule:
                jobs += count
                continue
            fires = timing_of_key(schedule).fires_in(minute)
            if fires:
                jobs += count
            elif fires is None:
                maybe += count
        return Neighbours(minute, max(0, jobs), maybe, not self._is_complete)
