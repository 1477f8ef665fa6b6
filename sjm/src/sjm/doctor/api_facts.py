"""What the API of a stage tells about it. The requests are bounded, also for a stage of 100,000 jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, TypeVar, cast

from sjm.client.paging import Listing
from sjm.client.types import Page, Schedule, SchedulePage
from sjm.doctor.findings import Some

if TYPE_CHECKING:
    from sjm.client import Execution, Manager

T = TypeVar("T")

# A stage has at most 2,000 schedules.
_SCHEDULE_PAGES = 20
_EXECUTION_PAGES = 3
_PAGE = 100
RECENT = timedelta(hours=24)
# Younger executions cannot be overdue for long, and there may be many of them.
_OLD = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True)
class Schedules(Some[Schedule]):
    """The schedules in use. ``rules`` of the stage's schedules need a rule, and ``limit`` may."""

    rules: int
    limit: int


class ApiFacts:
    """Reads one stage."""

    def __init__(self, manager: "Manager", now: datetime) -> None:
        self._manager = manager
        self._now = now

    def version(self) -> str:
        """The version of the stage. Needs no signature."""
        return str(self._manager.get_openapi()["info"]["version"])

    def schedules(self) -> Schedules:
        """The schedules in use, how many of them have a rule, and how many rules there may be."""
        pages = list(islice(self._manager.list_schedules(limit=_PAGE).pages(), _SCHEDULE_PAGES))
        last = cast(SchedulePage, pages[-1])
        some = _joined(pages)
        return Schedules(some.found, some.is_complete, rules=last["rule_count"], limit=last["schedule_limit"])

    def failures(self) -> "Some[Execution]":
        """The newest executions of the last day that failed or timed out."""
        return _first_pages(
            self._manager.list_executions(status=["fail", "timeout"], since=self._now - RECENT, limit=_PAGE),
            _EXECUTION_PAGES,
        )

    def running(self) -> "Some[Execution]":
        """Executions that run for some time already."""
        return _first_pages(
            self._manager.list_executions(status="running", until=self._now - _OLD, limit=_PAGE),
            _EXECUTION_PAGES,
        )


def _first_pages(listing: Listing[T], count: int) -> Some[T]:
    return _joined(list(islice(listing.pages(), count)))


def _joined(pages: Sequence[Page[T]]) -> Some[T]:
    return Some([each for page in pages for each in page["results"]], "more" not in pages[-1]["paging"])
