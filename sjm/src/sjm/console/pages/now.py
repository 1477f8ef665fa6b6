"""What runs, what failed, what is late, what comes next, and a timeline of yesterday to tomorrow."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sjm.client import Execution, Page
from sjm.console import explanations, overview, timeline
from sjm.console.reading import Reading
from sjm.console.site import Content, Site, site_of

_SHOWN = 8
_SHOWN_FAILURES = 4


async def now(request: Request) -> Response:
    """GET /."""

    async def content() -> Content:
        site = site_of(request)
        reader = _reader(site)
        # Both are read at the same time.
        live, day = await asyncio.gather(_live(site, request, reader), _day(site, request, reader))
        return Content("now.html", {**live, **_days(site, request, live["view"], day)})

    return await site_of(request).show(request, "Now", content(), active="now")


async def live_part(request: Request) -> Response:
    """GET /live/now: all but the timeline."""

    async def content() -> Content:
        site = site_of(request)
        return Content("now_live.html", await _live(site, request, _reader(site)))

    return await site_of(request).show(request, "Now", content(), active="now")


async def days_part(request: Request) -> Response:
    """GET /live/days: the timeline."""

    async def content() -> Content:
        site = site_of(request)
        reader = _reader(site)
        live, day = await asyncio.gather(_live(site, request, reader), _day(site, request, reader))
        return Content("now_days.html", _days(site, request, live["view"], day))

    return await site_of(request).show(request, "Now", content(), active="now")


async def _live(site: Site, request: Request, reader: overview.Reader) -> dict[str, Any]:
    viewer = site.viewer(request)
    view = await reader.overview(viewer.zone, viewer.now_ms)
    return {
        "view": view,
        "shown": _SHOWN,
        "shown_failures": _SHOWN_FAILURES,
        "ended_ms": overview.ended_ms,
        "began_ms": overview.began_ms,
        "explained": explanations.of_execution,
    }


async def _day(site: Site, request: Request, reader: overview.Reader) -> Reading[Page[Execution]]:
    viewer = site.viewer(request)
    return await reader.day(viewer.zone, viewer.now_ms)


def _days(
    site: Site, request: Request, view: overview.Overview, day: Reading[Page[Execution]]
) -> dict[str, Any]:
    viewer = site.viewer(request)
    executions = overview.merged([day, view.running, view.waiting, view.failed, view.recent])
    ticks = [
        tick
        for upcoming in view.upcoming
        for at_ms in upcoming.times_ms
        for tick in timeline.next_ticks(upcoming.jobs, at_ms)
    ]
    return {
        "days": timeline.days(executions, ticks, viewer.zone, viewer.now_ms),
        "drawn": len(executions),
        "is_partial": day.value is not None and "more" in day.value["paging"],
        "is_loading": day.is_loading,
        "axis_height": timeline.AXIS_HEIGHT,
    }


def _reader(site: Site) -> overview.Reader:
    return overview.Reader(site.manager, site.readings, site.patience_seconds)


routes = [Route("/", now), Route("/live/now", live_part), Route("/live/days", days_part)]
