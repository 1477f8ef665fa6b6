"""One execution of a job: how it went, what the service said, and what to do about it."""

import asyncio
import json
import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sjm.client import Chain, Execution, NotFound, SavedJob
from sjm.console import chain, explanations, links, outcomes, words
from sjm.console.acts import act, is_key
from sjm.console.attempts import attempts_of
from sjm.console.forms import form_of
from sjm.console.pages.job import read_job
from sjm.console.paths import execution_of
from sjm.console.reading import CHAIN, ONE, Reading
from sjm.console.site import Content, Site, site_of

LIVE_SECONDS = 5
CHAIN_SECONDS = 15
_ROUTE = "/jobs/{service}/{job}/executions/{execution}"
MAX_REASON = 1024
_CALLBACKS = " Callbacks of its service now get 410."


async def execution(request: Request) -> Response:
    """GET of the page."""
    service_name, job_name, _ = execution_of(request)
    site = site_of(request)
    title = f"Execution of {service_name}/{job_name}"
    return await site.show(request, title, _content(site, request), active="jobs")


async def cancel(request: Request) -> Response:
    """GET asks whether to cancel the execution; POST cancels it."""
    site, names = site_of(request), execution_of(request)
    title = f"Cancel an execution of {names[0]}/{names[1]}"
    if request.method == "GET":
        return await site.show(request, title, _cancellation(site, request))
    reason = form_of(request).text("reason").strip()[:MAX_REASON] or None
    return await act(
        request,
        title,
        lambda: site.manager.cancel_execution(*names, reason=reason),
        lambda done: links.execution(*names),
        lambda done: f"The execution is cancelled.{_CALLBACKS if 'service_invoked_at_ms' in done else ''}",
    )


async def rerun(request: Request) -> Response:
    """GET asks whether to rerun the execution; POST does."""
    site, names = site_of(request), execution_of(request)
    title = f"Rerun an execution of {names[0]}/{names[1]}"
    if request.method == "GET":
        return await site.show(request, title, _confirmation(site, request, "execution_rerun.html"))
    key = form_of(request).text("once") or None
    return await act(
        request,
        title,
        lambda: site.manager.rerun_execution(*names, idempotency_key=key if is_key(key) else None),
        lambda new: links.execution(names[0], names[1], new["execution_id"]),
        lambda new: "It runs again, with the same payload. This is the new execution.",
    )


async def _read(site: Site, request: Request) -> Reading[Execution]:
    names = execution_of(request)
    # Pages that are open ask every few seconds; two of them share what was read.
    return await site.readings.get(
        ("execution", *names), lambda: site.manager.get_execution(*names), ONE, LIVE_SECONDS - 1
    )


async def _read_chain(site: Site, run: Execution) -> Reading[Chain] | None:
    """The chain of an execution. Nothing is asked of one that has none."""
    if "parents" not in run and not run.get("children"):
        return None
    names = run["service_name"], run["job_name"], run["execution_id"]
    return await site.readings.get(
        ("chain", *names), lambda: site.manager.get_chain(*names), CHAIN, CHAIN_SECONDS - 1
    )


async def _content(site: Site, request: Request) -> Content:
    reading = await _read(site, request)
    run = reading.got()
    now_ms = site.viewer(request).now_ms
    chain_reading = await _read_chain(site, run)
    found = chain_reading.value if chain_reading else None
    drawing = chain.drawn(found, run["execution_id"]) if found else None
    has_ended = run["status"] not in outcomes.NOT_ENDED
    return Content(
        "execution.html",
        {
            "run": run,
            "reading": reading,
            "is_running": run["status"] == outcomes.RUNNING,
            "is_waiting": run["status"] == outcomes.WAITING,
            "is_live": not has_ended or (drawing is not None and drawing.goes_on),
            "live_seconds": CHAIN_SECONDS if has_ended else LIVE_SECONDS,
            "chain_reading": chain_reading,
            "chain": drawing,
            "box_width": chain.BOX_WIDTH,
            "box_height": chain.BOX_HEIGHT,
            "attempts": attempts_of(run, now_ms),
            "why": explanations.of_execution(run),
            "explained": explanations.of_error,
            "written": written,
            "next_attempt_ms": words.ms_of(run.get("next_attempt_at")),
            "lock_ms": words.ms_of(run.get("lock_expires_at")),
        },
    )


async def _confirmation(site: Site, request: Request, template: str) -> Content:
    reading = await _read(site, request)
    return Content(template, {"run": reading.got(), "once": secrets.token_urlsafe(12)})


async def _cancellation(site: Site, request: Request) -> Content:
    service_name, job_name, _ = execution_of(request)
    reading, job = await asyncio.gather(_read(site, request), read_job(site, (service_name, job_name)))
    run = reading.got()
    return Content("execution_cancel.html", {"run": run, "after": _after_cancel(run, job)})


def _after_cancel(run: Execution, job: Reading[SavedJob]) -> str:
    """What becomes of the lock, the service and the job if the execution is cancelled, as far as is known."""
    found = job.value
    said = _of_a_wait() if run["status"] == outcomes.WAITING else _of_a_run(run, found)
    if isinstance(job.error, NotFound):
        said.append("The job was deleted, so it does not fire again.")
    elif found is not None:
        said.append(_firing(found))
    return " ".join(said)


def _of_a_wait() -> list[str]:
    return ["It ends as cancelled, and its service is not notified."]


def _of_a_run(run: Execution, found: SavedJob | None) -> list[str]:
    is_locking = found is not None and found.get("lock_execution") == run["execution_id"]
    ends = ["It ends as cancelled"]
    if "attempts" in run:
        ends.append("no further attempt follows")
    if is_locking:
        ends.append("the job's lock is free again")
    said = [f"{', '.join(ends[:-1])} and {ends[-1]}." if len(ends) > 1 else f"{ends[0]}."]
    if found is not None and not found.get("async", True):
        said.append("The service is not stopped.")
    else:
        said.append("The service is not stopped: it gets 410 for its next callback.")
    return said


def _firing(job: SavedJob) -> str:
    if "paused" in job:
        return "The job stays paused."
    if not job["enabled"]:
        return "The job stays disabled."
    if "completed_at" in job:
        return "The job is completed: its schedule does not fire again."
    return f"The job goes on {'running ' + words.schedule_of(job) if 'after' in job else 'firing'}."


def written(value: Any) -> str:
    """What a service wrote: a text as it is, other JSON on several lines."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


routes = [
    Route(_ROUTE, execution),
    Route(f"{_ROUTE}/cancel", cancel, methods=["GET", "POST"]),
    Route(f"{_ROUTE}/rerun", rerun, methods=["GET", "POST"]),
]
