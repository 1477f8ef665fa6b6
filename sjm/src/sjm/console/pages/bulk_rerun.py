"""Reruns what failed: choose, confirm, and see what came of each."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, cast

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sjm.client import Execution, ExecutionSearch, ManagerError, SavedJob
from sjm.client.types import Status
from sjm.console import words
from sjm.console.forms import Form, form_of
from sjm.console.paths import is_execution_id, is_name
from sjm.console.reading import JOBS, SEARCH
from sjm.console.site import Content, Site, site_of

MOST = 100
_AT_ONCE = 4
_PAGES = 5
_FRESH_SECONDS = 15
_SPANS = {"1": "the last hour", "24": "the last day", "168": "the last week"}
_TICK = re.compile(r"-(\d{8}T\d{6}Z)(?:-|$)")
_ONCE = re.compile(r"[A-Za-z0-9_-]{8,64}")
_FAILED: tuple[Status, ...] = ("fail", "timeout")


@dataclass(frozen=True)
class Chosen:
    """An execution that is to be rerun."""

    service_name: str
    job_name: str
    execution_id: str

    @property
    def value(self) -> str:
        """The execution, as a form holds it. Names have no slash."""
        return f"{self.service_name}/{self.job_name}/{self.execution_id}"

    @property
    def scheduled_ms(self) -> int | None:
        """The time of its tick, which is part of its execution_id; None if this one has none."""
        found = _TICK.search(self.execution_id)
        return words.ms_of(found[1]) if found else None


@dataclass(frozen=True)
class Outcome:
    """What came of one: the new execution, or why there is none."""

    chosen: Chosen
    new: Execution | None
    error: ManagerError | None = None


async def failed(request: Request) -> Response:
    """GET /rerun lists what failed; POST with ``run`` fields asks, and with ``confirmed`` reruns them."""
    site = site_of(request)
    if request.method == "GET":
        return await site.show(request, "Rerun what failed", _list(site, request), active="now")
    form = form_of(request)
    chosen = chosen_of(form)
    if "confirmed" in form and chosen:
        return await site.show(request, "Rerun", _rerun(site, chosen, form.text("once")), active="now")
    return await site.show(request, "Rerun?", _confirmation(chosen, form), active="now")


def chosen_of(form: Form) -> list[Chosen]:
    """The executions that a form names, each once, at most a hundred. Others than that are left out."""
    found = []
    for value in dict.fromkeys(form.texts("run")):
        parts = value.split("/")
        if len(parts) == 3 and is_name(parts[0]) and is_name(parts[1]) and is_execution_id(parts[2]):
            found.append(Chosen(*parts))
    return found[:MOST]


async def _list(site: Site, request: Request) -> Content:
    query = request.query_params
    hours = query.get("hours", "24") if query.get("hours") in _SPANS else "24"
    service_name = query.get("service", "").strip()
    is_wrong = bool(service_name) and not is_name(service_name)
    runs: Sequence[Execution] = []
    is_cut, recovered = False, frozenset[str]()
    reading = None
    if not is_wrong:
        reading = await site.readings.get(
            ("failed", hours, service_name),
            lambda: _search(site, int(hours), service_name),
            SEARCH,
            _FRESH_SECONDS,
        )
        runs, is_cut = reading.got()
        recovered = await _recovered(site, runs)
    context = {
        "runs": runs,
        "recovered": recovered,
        "is_cut": is_cut,
        "reading": reading,
        "hours": hours,
        "spans": _SPANS,
        "service_name": service_name,
        "is_wrong": is_wrong,
        "most": MOST,
    }
    return Content("rerun.html", context)


def _search(site: Site, hours: int, service_name: str) -> tuple[list[Execution], bool]:
    """The latest that failed, at most a hundred, and whether there are more. Reads a few pages at most."""
    since = datetime.fromtimestamp(site.now(), UTC) - timedelta(hours=hours)
    search: ExecutionSearch = {
        "status": _FAILED,
        "since": since.isoformat(timespec="seconds"),
        "limit": MOST,
        **({"service_name": service_name} if service_name else {}),
    }
    found: list[Execution] = []
    more = False
    for page in islice(site.manager.search_executions(search).pages(), _PAGES):
        found += page["results"]
        more = "more" in page["paging"]
        if len(found) >= MOST:
            break
    return found[:MOST], more or len(found) > MOST


async def _recovered(site: Site, runs: Sequence[Execution]) -> frozenset[str]:
    """Those of the executions whose job has succeeded since. Without an answer of the API, there are none."""
    guids = tuple(dict.fromkeys(each["job_guid"] for each in runs))
    if not guids:
        return frozenset()
    jobs = site.manager.search_jobs({"job_guid": guids, "limit": MOST})
    reading = await site.readings.get(
        ("jobs that failed", guids), lambda: next(jobs.pages()), JOBS, _FRESH_SECONDS
    )
    found = reading.value["results"] if reading.value else []
    succeeded_ms = {each["job_guid"]: _succeeded_ms(each) for each in found}
    return frozenset(
        each["execution_id"] for each in runs if succeeded_ms.get(each["job_guid"], 0) > each["started_at_ms"]
    )


def _succeeded_ms(job: SavedJob) -> int:
    """When the last success of a job ended; 0 if it has none."""
    last = cast(Mapping[str, Any], job["last_successful_execution"])
    ended_ms: int = last.get("finished_at_ms", 0)
    return ended_ms


async def _confirmation(chosen: list[Chosen], form: Form) -> Content:
    jobs = {(each.service_name, each.job_name) for each in chosen}
    context = {
        "chosen": chosen,
        "jobs": len(jobs),
        "left_out": len(set(form.texts("run"))) - len(chosen),
        "once": secrets.token_urlsafe(12),
        "most": MOST,
    }
    return Content("rerun_confirm.html", context)


async def _rerun(site: Site, chosen: list[Chosen], once: str) -> Content:
    """Reruns each, a few at once. The keys make it safe to send the form again."""
    outcomes: list[Outcome | None] = [None] * len(chosen)
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def rerun(place: int, each: Chosen) -> None:
        key = f"{once}-{each.execution_id}" if _ONCE.fullmatch(once) else None

        def do() -> Outcome:
            try:
                new = site.manager.rerun_execution(
                    each.service_name, each.job_name, each.execution_id, idempotency_key=key
                )
            except ManagerError as error:
                return Outcome(each, None, error)
            return Outcome(each, new)

        outcomes[place] = await anyio.to_thread.run_sync(do, limiter=limiter)

    async with anyio.create_task_group() as group:
        for place, each in enumerate(chosen):
            group.start_soon(rerun, place, each)
    site.readings.forget()
    done = [each for each in outcomes if each is not None]
    context = {
        "started": [each for each in done if each.new],
        "refused": [each for each in done if not each.new],
    }
    return Content("rerun_done.html", context)


routes = [Route("/rerun", failed, methods=["GET", "POST"])]
