"""The schedules in use: how many jobs each has, when it fires next, and how many more the stage may have."""

from dataclasses import dataclass
from typing import cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sjm.client import Reconciliation, Schedule, SchedulePage
from sjm.console import words
from sjm.console.acts import act
from sjm.console.reading import SCHEDULES, Reading
from sjm.console.site import Content, Site, site_of

LIVE_SECONDS = 60
# A stage may have at most 2,000 schedules.
_PAGES = 20
_ROOM_IS_SHORT = 0.9


@dataclass(frozen=True)
class SchedulesInUse:
    """All schedules of a stage, and how many it may have."""

    schedules: list[Schedule]
    count: int
    limit: int

    @property
    def room(self) -> int:
        """How many more schedules the stage may have."""
        return max(0, self.limit - self.count)

    @property
    def is_short(self) -> bool:
        """Whether it is time to think of the limit."""
        return self.count >= _ROOM_IS_SHORT * self.limit


async def read_schedules(site: Site, fresh_seconds: float) -> Reading[SchedulesInUse]:
    """The schedules, read at most so long ago. Several pages share them."""
    return await site.readings.get("schedules", lambda: _all(site), SCHEDULES, fresh_seconds)


def _all(site: Site) -> SchedulesInUse:
    found: list[Schedule] = []
    count = limit = 0
    for number, page in enumerate(site.manager.list_schedules(limit=100).pages(), start=1):
        of_stage = cast(SchedulePage, page)
        found += page["results"]
        count, limit = of_stage["rule_count"], of_stage["schedule_limit"]
        if number == _PAGES:
            break
    return SchedulesInUse(found, count, limit)


def next_ms(schedule: Schedule) -> int | None:
    """When it fires next, in ms since 1970; None if that is not known, or never."""
    times = schedule["next_fire_times"]
    return words.ms_of(times[0]) if times else None


async def schedules(request: Request) -> Response:
    """GET of the page."""
    site = site_of(request)
    return await site.show(request, "Schedules", _content(site), active="schedules")


async def _content(site: Site) -> Content:
    reading = await read_schedules(site, LIVE_SECONDS - 1)
    in_use = reading.got()
    soonest = sorted(in_use.schedules, key=lambda each: (next_ms(each) is None, next_ms(each) or 0))
    context = {
        "reading": reading,
        "in_use": in_use,
        "schedules": soonest,
        "next_ms": next_ms,
        "live_seconds": LIVE_SECONDS,
        "out_of_step": sum(each["rule"] != "in step" for each in in_use.schedules),
    }
    return Content("schedules.html", context)


async def reconcile(request: Request) -> Response:
    """GET asks whether to reconcile; POST does."""
    site = site_of(request)
    if request.method == "GET":
        return await site.show(request, "Reconcile", _confirmation())
    manager = site.manager
    return await act(
        request, "Reconcile", manager.reconcile_schedules, lambda done: "/schedules", done_in_words
    )


async def _confirmation() -> Content:
    return Content("schedules_reconcile.html")


def done_in_words(done: Reconciliation) -> str:
    """What the reconciler found and did."""
    said = [f"{words.plural(done['checked'], 'rule')} checked."]
    repairs = [f"{each['schedule']} was {each['found']}" for each in done["changed"]]
    said.append(f"Repaired: {_listed(repairs)}." if repairs else "Nothing was to be repaired.")
    missed = [f"{words.plural(each['count'], 'tick')} of {each['schedule']}" for each in done["missed"]]
    if missed:
        said.append(f"Missed: {_listed(missed)}.")
    if completed := done.get("completed", 0):  # a stage of an earlier version does not tell
        said.append(f"Completed: {words.plural(completed, 'job')}.")
    if not done["complete"]:
        said.append("Not everything was checked: reconcile again.")
    return " ".join(said)


def _listed(parts: list[str], most: int = 5) -> str:
    rest = len(parts) - most
    return "; ".join(parts[:most]) + (f"; and {rest} more" if rest > 0 else "")


routes = [
    Route("/schedules", schedules),
    Route("/schedules/reconcile", reconcile, methods=["GET", "POST"]),
]
