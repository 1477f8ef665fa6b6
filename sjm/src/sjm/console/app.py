"""Puts the console together: its pages, its static files, and the guard around both."""

import time
from collections.abc import Callable
from importlib import import_module

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from sjm.client import Manager
from sjm.console import assets
from sjm.console.access import Access
from sjm.console.guard import Guard
from sjm.console.pages import (
    backfill,
    bulk_rerun,
    execution,
    form,
    job,
    jobs,
    limits,
    now,
    schedules,
    secrets,
)
from sjm.console.site import FRAME_AFTER_SECONDS, PATIENCE_SECONDS, Content, Site, site_of

# To add a page, write its module with `routes`, and name it here.
_PAGES = (now, jobs, form, job, backfill, execution, schedules, limits, bulk_rerun, secrets)


def create_app(
    manager: Manager,
    stage: str,
    access: Access,
    *,
    now: Callable[[], float] = time.time,
    frame_after_seconds: float = FRAME_AFTER_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Starlette:
    """The console as an ASGI application.

    Args:
        manager: The client of the stage. Its credentials sign everything that the console does.
        stage: The stage's name, as pages show it.
        access: The keys of this start, and the port.
        now: The clock, in seconds since 1970.
        frame_after_seconds: A page that is not ready by then shows its frame, and the rest when it is there.
        patience_seconds: How long a page of several reads waits for them. It is shown without those that
            come later.
    """
    # What takes a while is better done now than on the first page.
    import_module("sjm.client.aws")  # the client imports it with its first request
    assets.assets()
    app = Starlette(
        routes=[
            *(route for page in _PAGES for route in page.routes),
            Mount("/static", assets.serve, name="static"),
        ],
        middleware=[Middleware(Guard, access=access), Middleware(GZipMiddleware, minimum_size=500)],
        exception_handlers={404: _not_found},
    )
    app.state.site = Site(manager, stage, access, now, frame_after_seconds, patience_seconds)
    return app


async def _not_found(request: Request, error: Exception) -> Response:
    async def content() -> Content:
        return Content("not_found.html", status=404)

    return await site_of(request).show(request, "Not found", content())
