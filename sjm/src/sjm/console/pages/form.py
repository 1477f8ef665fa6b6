"""The form that creates or changes a job.

A change is sent for the version that was shown. If others have changed the job meanwhile, the page shows what
they changed and what was typed, and one chooses, field by field.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sjm.client import (
    BadRequest,
    FieldError,
    Job,
    ManagerError,
    NotFound,
    PreconditionFailed,
    Problem,
    SavedJob,
    ScheduleLimitReached,
    TargetTestFailed,
)
from sjm.console import job_form, links, overview, refusals, texts, words
from sjm.console.forms import Form, form_of
from sjm.console.job_form import Values
from sjm.console.pages.schedules import SchedulesInUse, next_ms, read_schedules
from sjm.console.paths import is_name, job_of
from sjm.console.reading import ONE
from sjm.console.site import Content, Site, site_of
from sjm.console.timed import times_of
from sjm.review.timing import UTC_NAME, Timing, timing_of_key

_OFFERED = 400
_SCHEDULES_FRESH_SECONDS = 60
_PREVIEW_FRESH_SECONDS = 60
_PREVIEWED = 5
_MAX_EXPRESSION = 256
_CHOICE = "choice."
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True)
class Draft:
    """A job that is being edited: the fields, and the version for which they were shown. None: a new job.

    ``base`` is the job at that version, so that a conflict can be told field by field.
    """

    service_name: str
    job_name: str
    values: Values
    version: int | None = None
    base: Mapping[str, Any] | None = None
    error: ManagerError | None = None
    unknown: tuple[str, ...] = ()
    managed_by: str = ""

    @property
    def name(self) -> str:
        """The job, as people name it."""
        return f"{self.service_name}/{self.job_name}"


async def create(request: Request) -> Response:
    """GET /new shows an empty form, or one like the job ``like``; POST creates the job."""
    site = site_of(request)
    if request.method == "GET":
        return await site.show(request, "New job", _empty(site, request), active="jobs")
    form = form_of(request)
    service_name, job_name = form.text("service_name").strip(), form.text("job_name").strip()
    values, body = job_form.read(form)
    for name, text in (("service_name", service_name), ("job_name", job_name)):
        if not is_name(text):
            values.errors[f"/{name}"] = "expected 1 to 64 characters of A-Z a-z 0-9 _ . -"
    return await _save(request, Draft(service_name, job_name, values), body)


async def edit(request: Request) -> Response:
    """GET shows the job in the form; POST changes it, if nobody else has since."""
    site = site_of(request)
    service_name, job_name = job_of(request)
    title = f"Edit {service_name}/{job_name}"
    if request.method == "GET":
        return await site.show(request, title, _of_job(site, service_name, job_name), active="jobs")
    form = form_of(request)
    base, version = _base_of(form)
    values, body = job_form.read(form)
    body = _exact(body, base)
    if choices := {
        name.removeprefix(_CHOICE): value for name, value in form.fields if name.startswith(_CHOICE)
    }:
        body = _chosen(body, base, choices)
        values = job_form.values_of(body)
    draft = Draft(service_name, job_name, values, version, base)
    if "edit_further" in form:
        return await site.show(request, title, _form(site, draft), active="jobs")
    return await _save(request, draft, body)


async def preview(request: Request) -> Response:
    """GET of the words and the next fire times of a schedule, for the form."""
    query = request.query_params
    choice = query.get("schedule", "")
    if choice == job_form.ANOTHER:
        zone, start_at, end_at = (query.get(name, "").strip() for name in job_form.TIMING)
        timing = Timing(
            query.get("schedule_text", "").strip(), zone or UTC_NAME, start_at or None, end_at or None
        )
    else:
        timing = timing_of_key(choice)
    site = site_of(request)
    return await site.show(request, "Preview", _preview(site, timing))


async def _empty(site: Site, request: Request) -> Content:
    query = request.query_params
    values = job_form.new_values(query.get("schedule", ""))
    return await _form(site, Draft(query.get("service", ""), "", values))


async def _of_job(site: Site, service_name: str, job_name: str) -> Content:
    job = await anyio.to_thread.run_sync(lambda: site.manager.get_job(service_name, job_name))
    # A form holds its fields as they are, and no page may hold a secret.
    if texts.holds_secret(job_form.kept(job)):
        return Content("form_secret.html", {"job": job}, 409)
    return await _form(site, _draft_of(job))


def _draft_of(job: SavedJob) -> Draft:
    kept = job_form.kept(job)
    unknown = tuple(job_form.unknown_fields(job))
    return Draft(
        job["service_name"],
        job["job_name"],
        job_form.values_of(kept),
        job["version"],
        kept,
        unknown=unknown,
        managed_by=job.get("managed_by", ""),
    )


async def _form(site: Site, draft: Draft) -> Content:
    reading = await read_schedules(site, _SCHEDULES_FRESH_SECONDS)
    in_use = reading.value
    offered = _offered(in_use, draft)
    values = draft.values
    key = values.timing.key
    is_offered = key in [each["schedule_key"] for each in offered] and not values.is_another
    # Nothing is chosen in a new form, unless there is nothing to choose from.
    if not is_offered and (values.schedule or not offered):
        values = replace(values, is_another=True)
    shown = await _previewed(site, values.timing)
    context = {
        "draft": draft,
        "values": values,
        "is_new": draft.version is None,
        "base_text": json.dumps(draft.base) if draft.base is not None else "",
        "offered": offered,
        "others": max(0, len(in_use.schedules) - len(offered)) if in_use else 0,
        "room": in_use.room if in_use else None,
        "schedules_error": reading.error if in_use is None else None,
        "next_ms": next_ms,
        "error": draft.error,
        "seen": draft.error.document.get("seen") if isinstance(draft.error, TargetTestFailed) else None,
        "nearest": _nearest(draft.error),
        "another": job_form.ANOTHER,
        "labels": LABELS,
        "placeholders": _PLACEHOLDERS,
        "key": key,
        "zone_names": words.zone_names(),
        **shown,
    }
    is_wrong = bool(draft.error or values.errors)
    return Content("form.html", context, 422 if is_wrong else 200)


def _offered(in_use: SchedulesInUse | None, draft: Draft) -> list[Any]:
    """The schedules to choose from, those of most jobs first; the job's own before all others."""
    found, own = list(in_use.schedules) if in_use else [], draft.values.timing.key
    found.sort(key=lambda each: (each["schedule_key"] != own, -each["job_count"], each["schedule_key"]))
    return found[:_OFFERED]


def _nearest(error: ManagerError | None) -> list[str]:
    return error.document.get("nearest_schedules", []) if isinstance(error, ScheduleLimitReached) else []


async def _previewed(site: Site, timing: Timing) -> dict[str, Any]:
    """When a schedule fires, by the API, which is asked only for what looks like a schedule."""
    text, zone = timing.schedule, timing.time_zone
    looks_right = text.startswith(("rate(", "cron(", "at(")) and text.endswith(")")
    shown: dict[str, Any] = {"expression": text, "times": [], "in_words": "", "wrong": "", "is_rate": False}
    shown |= {"time_zone": zone, "shared_by": 0, "about_ms": None}
    if not text:
        return shown
    if not looks_right or len(text) > _MAX_EXPRESSION:
        return shown | {"wrong": "Expected rate(…), cron(…) or at(…), such as cron(0 2 * * ? *)."}
    reading = await site.readings.get(
        ("preview", timing),
        lambda: site.manager.preview_schedule(
            text,
            # A stage of an earlier version knows no time zones.
            time_zone=None if zone == UTC_NAME else zone,
            count=_PREVIEWED,
            start_at=timing.start_at,
            end_at=timing.end_at,
        ),
        ONE,
        _PREVIEW_FRESH_SECONDS,
    )
    if reading.error is not None:
        details = reading.error.errors if isinstance(reading.error, BadRequest) else []
        return shown | {"wrong": "; ".join(map(_named, details)) or refusals.told(reading.error)}
    found = reading.got()
    is_rate = "counted_from" in found and timing.start_at is None
    return shown | {
        "times": times_of(found.get("times"), found["fire_times"]),
        "in_words": words.schedule(found["schedule"], found.get("time_zone", UTC_NAME)),
        "is_rate": is_rate,
        "expression": found["schedule"],
        "time_zone": found.get("time_zone", UTC_NAME),
        **(await _in_use(site, timing) if is_rate else {}),
    }


async def _in_use(site: Site, timing: Timing) -> dict[str, Any]:
    """Of a rate that jobs are on already: that it is, and when it fires next by what the page Now knows."""
    in_use = (await read_schedules(site, _SCHEDULES_FRESH_SECONDS)).value
    schedules = in_use.schedules if in_use else []
    found = next((each for each in schedules if each["schedule_key"] == timing.key), None)
    if found is None:
        return {}
    # Leaves out what does not come within the patience of the site.
    recent = (await overview.Reader(site.manager, site.readings, site.patience_seconds).recent()).value
    ticks = overview.last_ticks(recent["results"] if recent else [])
    times = overview.next_times(found, ticks, round(site.now() * 1000))
    return {"times": [], "shared_by": found["job_count"], "about_ms": times[0] if times else None}


def _named(error: FieldError) -> str:
    """What is wrong, with the field unless it is the schedule."""
    name = error["pointer"].removeprefix("/")
    return error["detail"] if name == "schedule" else f"{LABELS.get(name, name)}: {error['detail']}"


async def _preview(site: Site, timing: Timing) -> Content:
    return Content("form_preview.html", await _previewed(site, timing))


async def _save(request: Request, draft: Draft, body: Job) -> Response:
    site = site_of(request)
    title = f"Edit {draft.name}" if draft.version else "New job"
    if draft.values.errors:
        return await site.show(request, title, _form(site, draft), active="jobs")

    def put() -> SavedJob:
        return site.manager.put_job(
            draft.service_name,
            draft.job_name,
            body,
            if_match=draft.version,
            only_if_new=draft.version is None,
        )

    try:
        saved = await anyio.to_thread.run_sync(put)
    except PreconditionFailed as error:
        if draft.version is not None:
            return await site.show(request, title, _conflict(site, draft, body, error), active="jobs")
        draft.values.errors["/job_name"] = (
            "the service has a job of this name: choose another, or edit that one"
        )
        return await site.show(request, title, _form(site, draft), active="jobs")
    except ManagerError as error:
        wrong = replace(draft, error=error)
        if isinstance(error, Problem):
            draft.values.errors.update({each["pointer"]: each["detail"] for each in error.errors})
        if isinstance(error, ScheduleLimitReached):
            draft.values.errors["/schedule"] = "the stage has no room for one more schedule"
        return await site.show(request, title, _form(site, wrong), active="jobs")
    done = "Changed" if draft.version else "Created"
    notice = f"{done} {draft.name}, version {saved['version']}."
    if _is_timed_anew(saved, draft.base):
        notice += "".join(_noted(site, request, each["detail"]) for each in saved.get("warnings", []))
    return site.acted(links.job(draft.service_name, draft.job_name), notice)


def _is_timed_anew(saved: SavedJob, before: Mapping[str, Any] | None) -> bool:
    """Whether a save has changed when the job fires. If not, its warnings were told before."""
    now = job_form.kept(saved)
    names = ("schedule", *job_form.TIMING, "enabled")
    return before is None or any(now.get(name) != before.get(name) for name in names)


def _noted(site: Site, request: Request, warning: str) -> str:
    """A warning of the API as a sentence, with times as the viewer's pages have them."""
    viewer = site.viewer(request)

    def clock(found: re.Match[str]) -> str:
        ms = words.ms_of(found[0])
        return found[0] if ms is None else words.clock(ms, viewer.zone, viewer.now_ms)

    return f" Note: {_TIME.sub(clock, warning).rstrip('.')}."


async def _conflict(site: Site, draft: Draft, body: Job, error: PreconditionFailed) -> Content:
    """What others have changed. If all of it is as one wants it, or one can have both, that is chosen."""
    names = draft.service_name, draft.job_name
    try:
        theirs = await anyio.to_thread.run_sync(lambda: site.manager.get_job(*names))
    except NotFound:
        # Saved without a condition, it would come back without anybody having decided that.
        return await _form(site, replace(draft, version=None, base=None, error=error))
    before = draft.base or {}
    kept = job_form.kept(theirs)
    if texts.holds_secret(kept):
        return Content("form_secret.html", {"job": theirs}, 409)
    # The job as it was sent has no defaults, so an empty field counts as unchanged if the default was kept.
    mine = {**{name: value for name, value in before.items() if name in _DEFAULTED}, **body}
    mine.pop("test_invocation", None)
    context = {
        "draft": draft,
        "theirs": theirs,
        "differences": job_form.differences(before, kept, mine),
        "base_text": json.dumps(kept),
        "typed": _typed(draft.values),
        "labels": LABELS,
        "choice": _CHOICE,
        "written": _written,
    }
    return Content("form_conflict.html", context, 412)


def _typed(values: Values) -> list[tuple[str, str]]:
    """Everything that stands in the form, to be sent again."""
    fields = [*values.texts.items(), ("schedule", job_form.ANOTHER), ("schedule_text", values.schedule)]
    fields += [(name, "yes") for name, is_on in values.switches.items() if is_on]
    fields += [("retry.on", each) for each in values.retried]
    for name, value in values.tags:
        fields += [("tag_name", name), ("tag_value", value)]
    return fields


def _base_of(form: Form) -> tuple[dict[str, Any], int | None]:
    """The job for which the form was shown, and its version."""
    try:
        base = json.loads(form.text("base") or "{}")
    except ValueError:
        base = {}
    version = form.text("version")
    is_number = version.isascii() and version.isdecimal() and 0 < len(version) <= 15
    return base if isinstance(base, dict) else {}, int(version) if is_number else None


def _exact(body: Job, base: Mapping[str, Any]) -> Job:
    """The body with texts as the job has them, if only the browser has changed their line breaks."""
    source = cast(dict[str, Any], body)
    for name in ("payload", "description"):
        before = base.get(name)
        if isinstance(before, str) and before.replace("\r\n", "\n") == source.get(name):
            source[name] = before
    return body


def _chosen(body: Job, theirs: Mapping[str, Any], choices: Mapping[str, str]) -> Job:
    """The body with those fields of theirs that were chosen."""
    merged = cast(dict[str, Any], dict(body))
    for name, choice in choices.items():
        if choice == "theirs" and name in job_form.KEPT_FIELDS:
            merged.pop(name, None)
            if name in theirs:
                merged[name] = theirs[name]
    return cast(Job, merged)


def _written(value: Any) -> str:
    if value is None or value == "":
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_PLACEHOLDERS = {
    "http": "https://billing.example/jobs/nightly",
    "sns": "arn:aws:sns:eu-central-1:123456789012:jobs",
}

_DEFAULTED = frozenset(
    {"workflow_type", "invocation_target", "ttl_seconds", "max_duration_seconds", "payload"}
)

LABELS = {
    "service_name": "Service",
    "job_name": "Name",
    "schedule": "Schedule",
    "after": "After other jobs",
    "time_zone": "Time zone",
    "start_at": "From",
    "end_at": "Until",
    "invocation_type": "Called by",
    "invocation_target": "Target",
    "payload": "Payload",
    "enabled": "Enabled",
    "async": "Calls back",
    "overlap": "If it runs already",
    "ttl_seconds": "Silence allowed",
    "heartbeat_interval_seconds": "Heartbeat every",
    "max_duration_seconds": "Longest duration",
    "starting_deadline_seconds": "Latest start",
    "workflow_type": "Workflow",
    "catch_up": "After missed ticks",
    "catch_up_window_seconds": "Catch-up window",
    "spread_seconds": "Spread",
    "limit": "Limit",
    "retry": "Retries",
    "alert_after_failures": "Alert after",
    "pause_after_failures": "Pause after",
    "warn_after_seconds": "Warn after",
    "description": "Description",
    "owner": "Owner",
    "tags": "Tags",
}

routes = [
    Route("/new", create, methods=["GET", "POST"]),
    Route("/jobs/{service}/{job}/edit", edit, methods=["GET", "POST"]),
    Route("/schedules/preview", preview),
]
