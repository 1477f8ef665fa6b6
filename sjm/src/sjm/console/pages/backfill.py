"""Backfills a job: choose the time, see what was missed, and start it."""

from dataclasses import dataclass
from datetime import UTC, datetime

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sjm.client.types import Backfill
from sjm.console import links, words
from sjm.console.acts import act
from sjm.console.forms import Form, form_of
from sjm.console.pages.job import read_job
from sjm.console.paths import job_of
from sjm.console.site import Content, Site, site_of

_EXPECTED = "Expected a date and a time, such as 2026-12-01 06:00."


@dataclass(frozen=True)
class Asked:
    """From when to when, in UTC."""

    since: datetime
    until: datetime | None


async def backfill(request: Request) -> Response:
    """GET asks for the time; POST shows what was missed then, and with ``confirmed`` starts it."""
    site, names = site_of(request), job_of(request)
    title = f"Backfill {'/'.join(names)}"
    if request.method == "GET":
        return await site.show(request, title, _form(request, Form()), active="jobs")
    form = form_of(request)
    asked, error = _asked(site, request, form)
    if asked is None:
        return await site.show(request, title, _form(request, form, error), active="jobs")
    if "confirmed" not in form:
        return await site.show(request, title, _found(request, asked), active="jobs")
    return await act(
        request,
        title,
        lambda: site.manager.backfill_job(*names, since=asked.since, until=asked.until),
        lambda done: links.job(*names),
        lambda done: f"{words.plural(done['count'], 'execution')} started, oldest first.",
    )


async def _form(request: Request, form: Form, error: str = "") -> Content:
    site, names = site_of(request), job_of(request)
    found = (await read_job(site, names)).got()
    if "after" in found:
        return Content("job_backfill_none.html", {"job": found})
    return Content("job_backfill.html", {"job": found, "form": form, "error": error}, 400 if error else 200)


async def _found(request: Request, asked: Asked) -> Content:
    """What a dry run finds. Its ``until`` is confirmed, so that what is shown is what is started."""
    site, names = site_of(request), job_of(request)

    def ask() -> Backfill:
        return site.manager.backfill_job(*names, since=asked.since, until=asked.until, dry_run=True)

    found = await anyio.to_thread.run_sync(ask)
    job = (await read_job(site, names)).got()
    context = {"names": names, "job": job, "found": found, "since": asked.since.isoformat()}
    return Content("job_backfill_confirm.html", context)


def _asked(site: Site, request: Request, form: Form) -> tuple[Asked | None, str]:
    """The times of a form, in the viewer's zone unless they have an offset; or what is wrong with them."""
    zone = site.viewer(request).zone
    found: dict[str, datetime | None] = {}
    for name in ("since", "until"):
        text = form.text(name).strip()
        try:
            moment = datetime.fromisoformat(text) if text else None
        except ValueError:
            return None, f"{name.capitalize()} when? {_EXPECTED}"
        if moment is not None and moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        found[name] = None if moment is None else moment.astimezone(UTC)
    since, until = found["since"], found["until"]
    if since is None:
        return None, f"Since when? {_EXPECTED}"
    if (until.timestamp() if until else site.now()) <= since.timestamp():
        return None, "Until when? Expected a time after the other one, and none in the future."
    if until is not None and until.timestamp() > site.now():
        return None, "Until when? Expected a time that is not in the future."
    return Asked(since, until), ""


routes = [Route("/jobs/{service}/{job}/backfill", backfill, methods=["GET", "POST"])]
