"""The limits of a service, or of the services of the first jobs: who holds their slots, and who waits."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sjm.client import Execution, SavedJob, SavedLimit
from sjm.console import links
from sjm.console.paths import is_name
from sjm.console.reading import JOBS, ONE, SEARCH, Reading
from sjm.console.site import Content, Site, site_of

LIVE_SECONDS = 15
SEARCH_EVERY = 30
JOBS_EVERY = 300
MOST_SERVICES = 10
_MOST_WAITING = 5
_JOB_PAGES = 3
_GUID_LENGTH = 36


@dataclass(frozen=True)
class Holder:
    """An execution that holds a slot. ``link`` is empty if its job is not among those that were read."""

    execution_id: str
    name: str
    link: str


@dataclass(frozen=True)
class LimitInUse:
    """A limit, the executions that hold its slots, some of those that wait, and the jobs that name it."""

    limit: SavedLimit
    holders: Sequence[Holder]
    waiting: Sequence[Execution]
    jobs: Sequence[SavedJob]

    @property
    def is_full(self) -> bool:
        """Whether no slot is free."""
        return "slots" in self.limit and self.limit["held"] >= self.limit["slots"]

    @property
    def more_waiting(self) -> int:
        """How many more wait for a slot than those that are shown."""
        return max(0, self.limit["waiting"] - len(self.waiting))


async def limits(request: Request) -> Response:
    """GET of the page. ``service`` chooses one service."""
    site, service_name = site_of(request), request.query_params.get("service", "").strip()
    if service_name and not is_name(service_name):
        raise HTTPException(404)
    return await site.show(request, "Limits", _content(site, service_name), active="limits")


async def _content(site: Site, service_name: str) -> Content:
    jobs = await site.readings.get(
        ("limits", "jobs", service_name),
        lambda: _jobs(site, service_name),
        JOBS.times(_JOB_PAGES),
        JOBS_EVERY,
    )
    found = jobs.value or []
    names = [service_name] if service_name else sorted({job["service_name"] for job in found})
    shown = names[:MOST_SERVICES]
    readings = await asyncio.gather(*(_read(site, name) for name in shown))
    found_limits = [limit for reading in readings for limit in reading.value or []]
    waiting = await _waiting(site, service_name, found_limits)
    by_service = {
        name: [_in_use(limit, found, waiting.value or []) for limit in reading.value or []]
        for name, reading in zip(shown, readings, strict=True)
    }
    tried: list[Reading[Any]] = [jobs, *readings, waiting]
    errors = [each.error for each in tried if each.error is not None]
    context: dict[str, Any] = {
        "service_name": service_name,
        "by_service": {name: each for name, each in by_service.items() if each},
        "left_out": names[MOST_SERVICES:],
        "short": short,
        "errors": list(dict.fromkeys(errors)),
        "reading": min(readings, key=lambda each: each.read_at or 0, default=jobs),
        "live_seconds": LIVE_SECONDS,
        "address": links.search("/limits", service=service_name),
    }
    return Content("limits.html", context)


async def _read(site: Site, service_name: str) -> Reading[list[SavedLimit]]:
    def read() -> list[SavedLimit]:
        return list(site.manager.list_limits(service_name, limit=100))

    return await site.readings.get(("limits", service_name), read, ONE, LIVE_SECONDS - 1)


async def _waiting(
    site: Site, service_name: str, found: Sequence[SavedLimit]
) -> Reading[Sequence[Execution]]:
    """The newest executions that wait for a limit, of the service or of the stage."""
    if not any(limit["waiting"] or "per_second" in limit for limit in found):
        return Reading[Sequence[Execution]]([])

    def read() -> Sequence[Execution]:
        manager = site.manager
        if service_name:
            listing = manager.list_executions_of_service(
                service_name, status="waiting", reason="limit_reached", limit=100
            )
        else:
            listing = manager.list_executions(status="waiting", reason="limit_reached", limit=100)
        return next(listing.pages())["results"]

    return await site.readings.get(("limits", "waiting", service_name), read, SEARCH, SEARCH_EVERY - 1)


def _jobs(site: Site, service_name: str) -> list[SavedJob]:
    """The first jobs of the service, or of the stage."""
    listing = (
        site.manager.list_jobs_of_service(service_name, limit=100)
        if service_name
        else site.manager.list_jobs(limit=100)
    )
    return [
        job for _, page in zip(range(_JOB_PAGES), listing.pages(), strict=False) for job in page["results"]
    ]


def _in_use(limit: SavedLimit, jobs: Sequence[SavedJob], waiting: Sequence[Execution]) -> LimitInUse:
    of_service = [job for job in jobs if job["service_name"] == limit["service_name"]]
    by_guid = {job["job_guid"]: job for job in of_service}
    return LimitInUse(
        limit,
        [_holder(execution_id, by_guid) for execution_id in limit["holders"]],
        _first_that_wait(limit, waiting),
        [job for job in of_service if job.get("limit") == limit["limit_name"]],
    )


def _first_that_wait(limit: SavedLimit, waiting: Sequence[Execution]) -> list[Execution]:
    """Those of the executions that wait for a limit, the oldest scheduled time first."""
    of_limit = [
        each
        for each in waiting
        if (each["service_name"], each.get("limit")) == (limit["service_name"], limit["limit_name"])
    ]
    return sorted(of_limit, key=lambda each: each["scheduled_time_ms"])[:_MOST_WAITING]


def _holder(execution_id: str, by_guid: Mapping[str, SavedJob]) -> Holder:
    job = by_guid.get(execution_id[:_GUID_LENGTH])
    if job is None:
        return Holder(execution_id, execution_id, "")
    link = links.execution(job["service_name"], job["job_name"], execution_id)
    return Holder(execution_id, f"{job['job_name']} {short(execution_id)}", link)


def short(execution_id: str) -> str:
    """An id without the guid of its job."""
    return execution_id[_GUID_LENGTH + 1 :]


routes = [Route("/limits", limits)]
