"""One job: what it is, when it fires next, how its executions went, who holds its lock, what can be done."""

import asyncio
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sjm.client import Execution, NotFound, Page, SavedJob, TargetTest
from sjm.client.types import Status
from sjm.console import links, outcomes, timeline, words
from sjm.console.acts import act, is_key
from sjm.console.forms import Form, form_of
from sjm.console.paths import job_of
from sjm.console.reading import EXECUTIONS, ONE, Reading
from sjm.console.site import Content, Site, site_of
from sjm.console.timed import times_of

LIVE_SECONDS = 5
HISTORY_SIZE = 50
_ROUTE = "/jobs/{service}/{job}"
_MAX_REASON = 1024
_MAX_PAYLOAD_BYTES = 32 * 1024


async def job(request: Request) -> Response:
    """GET of the page. ``status`` and ``more`` choose another part of the history."""
    names = job_of(request)
    return await site_of(request).show(request, "/".join(names), _content(request), active="jobs")


async def live_part(request: Request) -> Response:
    """GET of the part that stays fresh: the state and the newest history."""
    names = job_of(request)

    async def content() -> Content:
        whole = await _content(request)
        return replace(whole, template="job_live.html") if whole.template == "job.html" else whole

    return await site_of(request).show(request, "/".join(names), content(), active="jobs")


async def run(request: Request) -> Response:
    """GET asks whether to run the job now, and with which payload; POST runs it."""
    site, names = site_of(request), job_of(request)
    title = f"Run {'/'.join(names)}"
    if request.method == "GET":
        return await _ask(request, title, "job_run.html")
    form = form_of(request)
    payload = form.text("payload") if "replaces" in form else None
    if payload is not None and len(payload.encode()) > _MAX_PAYLOAD_BYTES:
        error = f"The payload has {len(payload.encode()):,} bytes. Expected at most {_MAX_PAYLOAD_BYTES:,}."
        return await _ask(request, title, "job_run.html", error)
    key = form.text("once")
    return await act(
        request,
        title,
        lambda: site.manager.start_execution(
            *names, payload=payload, idempotency_key=key if is_key(key) else None
        ),
        lambda new: links.execution(*names, new["execution_id"]),
        lambda new: "It runs. This is the execution.",
    )


async def pause(request: Request) -> Response:
    """GET asks why and until when; POST pauses the job."""
    site, names = site_of(request), job_of(request)
    title = f"Pause {'/'.join(names)}"
    if request.method == "GET":
        return await _ask(request, title, "job_pause.html")
    form = form_of(request)
    reason = form.text("reason").strip()
    until, error = _until(site, request, form)
    if not reason or len(reason) > _MAX_REASON:
        error = f"Say why, in 1 to {_MAX_REASON:,} characters. Others read it."
    if error:
        return await _ask(request, title, "job_pause.html", error)
    return await act(
        request,
        title,
        lambda: site.manager.pause_job(*names, reason, until=until),
        lambda done: links.job(*names),
        lambda done: "The job is paused. Executions that have begun go on.",
    )


async def resume(request: Request) -> Response:
    """GET asks; POST lets the job fire again."""
    site, names = site_of(request), job_of(request)
    title = f"Resume {'/'.join(names)}"
    if request.method == "GET":
        return await _ask(request, title, "job_resume.html")
    return await act(
        request,
        title,
        lambda: site.manager.resume_job(*names),
        lambda done: links.job(*names),
        lambda done: "The job fires again, from its next tick on.",
    )


async def test(request: Request) -> Response:
    """GET asks; POST sends a test notification to the job's target."""
    site, names = site_of(request), job_of(request)
    title = f"Test {'/'.join(names)}"
    if request.method == "GET":
        return await _ask(request, title, "job_test.html")
    return await act(
        request,
        title,
        lambda: site.manager.test_job(*names),
        lambda done: links.job(*names),
        _tested,
    )


async def delete(request: Request) -> Response:
    """GET asks; POST deletes the job, if it is still as the page showed it."""
    site, names = site_of(request), job_of(request)
    title = f"Delete {'/'.join(names)}"
    if request.method == "GET":
        return await _ask(request, title, "job_delete.html")
    version = form_of(request).text("version")
    seen = int(version) if version.isascii() and version.isdecimal() and len(version) < 19 else 0
    return await act(
        request,
        title,
        lambda: site.manager.delete_job(*names, if_match=seen),
        lambda done: "/jobs",
        lambda done: f"{'/'.join(names)} is deleted. Its history stays until it expires.",
    )


async def _content(request: Request) -> Content:
    site, names = site_of(request), job_of(request)
    query = request.query_params
    status = next((each for each in outcomes.STATUSES if each == query.get("status")), None)
    more = query.get("more", "")
    reading, history = await asyncio.gather(read_job(site, names), _history(site, names, status, more))
    viewer = site.viewer(request)
    empty: Page[Execution] = {"results": [], "paging": {}}
    page = history.value or empty
    context: dict[str, Any] = {
        "names": names,
        "reading": reading,
        "history": history,
        "executions": page["results"],
        "chart": timeline.durations(page["results"], viewer.zone, viewer.now_ms),
        "chart_height": timeline.CHART_HEIGHT,
        "status": status,
        "statuses": outcomes.STATUSES,
        "older": _older(names, status, page),
        "is_newest": not status and not more,
        "live_seconds": LIVE_SECONDS,
    }
    if isinstance(reading.error, NotFound):
        # Its executions may go on.
        is_live = any(each["status"] in outcomes.NOT_ENDED for each in page["results"])
        return Content("job_gone.html", {**context, "is_live": is_live}, 404)
    found = reading.got()
    context |= {
        "job": found,
        "lock_ms": words.ms_of(found.get("lock_expires_at")),
        "fires": times_of(found.get("next_times"), found.get("next_fire_times")),
        "shows_clock": found.get("time_zone", viewer.zone_name) != viewer.zone_name,
    }
    return Content("job.html", context)


async def read_job(site: Site, names: tuple[str, str]) -> Reading[SavedJob]:
    """The job as pages show it. Several pages share what was read."""
    return await site.readings.get(
        ("job", *names), lambda: site.manager.get_job(*names), ONE, LIVE_SECONDS - 1
    )


async def _history(
    site: Site, names: tuple[str, str], status: Status | None, more: str
) -> Reading[Page[Execution]]:
    listing = site.manager.list_executions_of_job(
        *names,
        status=status,
        limit=HISTORY_SIZE,
        more=more or None,
    )
    return await site.readings.get(
        ("history", *names, status, more), lambda: next(listing.pages()), EXECUTIONS, LIVE_SECONDS - 1
    )


def _older(names: tuple[str, str], status: Status | None, page: Page[Execution]) -> str | None:
    more = page["paging"].get("more")
    return None if more is None else links.search(links.job(*names), status=status, more=more)


async def _ask(request: Request, title: str, template: str, error: str = "") -> Response:
    """The page on which an act is confirmed."""
    content = _confirmation(request, template, error)
    return await site_of(request).show(request, title, content, active="jobs")


async def _confirmation(request: Request, template: str, error: str = "") -> Content:
    """What will happen. With an error, the form is shown again as it was sent."""
    site, names = site_of(request), job_of(request)
    found = (await read_job(site, names)).got()
    form = form_of(request) if request.method == "POST" else Form()
    context = {
        "job": found,
        "error": error,
        "form": form,
        "once": form.text("once") or secrets.token_urlsafe(12),
        "lock_ms": words.ms_of(found.get("lock_expires_at")),
    }
    return Content(template, context, 400 if error else 200)


def _until(site: Site, request: Request, form: Form) -> tuple[datetime | None, str]:
    """Until when to pause, in the viewer's zone; and what is wrong with it."""
    text = form.text("until").strip()
    if not text:
        return None, ""
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        return None, "Until when? Expected a date and a time, such as 2026-12-01 06:00."
    if until.tzinfo is None:
        until = until.replace(tzinfo=site.viewer(request).zone).astimezone(UTC)
    if until.timestamp() <= site.now():
        return None, "Until when? Expected a time in the future."
    return until, ""


def _tested(done: TargetTest) -> str:
    seen = done["seen"]
    if "http_status" in seen:
        took = f" after {words.duration(seen['duration_ms'])}" if "duration_ms" in seen else ""
        return f"The target takes notifications: it answered {seen['http_status']}{took}."
    return "The topic exists, and the test notification is published to it."


routes = [
    Route(_ROUTE, job),
    Route(f"{_ROUTE}/live", live_part),
    *(
        Route(f"{_ROUTE}/{endpoint.__name__}", endpoint, methods=["GET", "POST"])
        for endpoint in (run, pause, resume, test, delete)
    ),
]
