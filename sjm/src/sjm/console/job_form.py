"""A job as the fields of a form, and back.

What was typed is never lost: a field that cannot be read stays as text, with an error beside it. Errors have
the JSON Pointers of the API, so its own stand beside the same fields.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from sjm.client import Job
from sjm.console.forms import Form
from sjm.review.after import parent_of_text, parents_as_texts
from sjm.review.fields import overlap_of
from sjm.review.timing import UTC_NAME, Timing, timing_of_key

ANOTHER = "another"
"""The choice of a schedule that no job has yet."""

TIMING = ("time_zone", "start_at", "end_at")
"""The fields that belong to the schedule."""

TEXTS = (
    *TIMING,
    "invocation_type",
    "invocation_target",
    "payload",
    "workflow_type",
    "overlap",
    "catch_up",
    "limit",
    "description",
    "owner",
)
NUMBERS = (
    "ttl_seconds",
    "heartbeat_interval_seconds",
    "max_duration_seconds",
    "starting_deadline_seconds",
    "catch_up_window_seconds",
    "spread_seconds",
    "alert_after_failures",
    "pause_after_failures",
    "warn_after_seconds",
)
SWITCHES = ("enabled", "async", "test_invocation")
RETRY_NUMBERS = ("max_attempts", "interval_seconds", "backoff_rate")
RETRIED = ("fail", "timeout")
KEPT_FIELDS = (
    "schedule",
    "after",
    *TEXTS,
    *NUMBERS,
    "enabled",
    "async",
    "retry",
    "tags",
)
"""The fields of a job that the form edits and the manager keeps, as they are named in the API."""

_SHOWN_FIELDS = frozenset(
    {
        "service_name",
        "job_name",
        "job_guid",
        "managed_by",
        "completed_at",
        "version",
        "created_at",
        "updated_at",
        "updated_by",
        "paused",
        "exclusive",  # overlap says it, too
        "fencing_token",
        "lock_execution",
        "lock_expires_at",
        "last_execution",
        "last_successful_execution",
        "next_fire_times",
        "offset_seconds",
        "next_times",
        "children",
        "orphaned_by",
        "warnings",
    }
)
_DEFAULTS = (("time_zone", UTC_NAME), ("overlap", "allow"))
MAX_TAGS = 50
_WHOLE = re.compile(r"-?[0-9]{1,15}")
_FACTOR = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?")
_SPARE_TAGS = 3


@dataclass(frozen=True)
class Values:
    """What stands in the fields of the form, and what is wrong with them, by JSON Pointer.

    ``texts`` holds fields of text and numbers by the names of the API; those of ``retry`` as
    ``retry.max_attempts``. ``schedule`` is the expression, and ``is_another`` whether it was typed; if not,
    it was chosen with its time zone and its bounds.
    """

    texts: Mapping[str, str]
    switches: Mapping[str, bool]
    retried: Sequence[str]
    tags: Sequence[tuple[str, str]]
    schedule: str
    is_another: bool
    errors: dict[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """The text of a field."""
        return self.texts.get(name, "")

    @property
    def timing(self) -> Timing:
        """The schedule with its time zone and its bounds."""
        zone, start_at, end_at = (self.text(name) for name in TIMING)
        return Timing(self.schedule, zone or UTC_NAME, start_at or None, end_at or None)

    def error(self, name: str) -> str:
        """What is wrong with a field or something in it; empty if nothing is."""
        pointer = "/" + name.replace(".", "/")
        found = (text for key, text in self.errors.items() if key == pointer or key.startswith(f"{pointer}/"))
        return "; ".join(found)

    def tag_rows(self) -> list[tuple[str, str]]:
        """The tags, and a few empty rows for more."""
        room = max(0, MAX_TAGS - len(self.tags))
        return [*self.tags, *[("", "")] * min(_SPARE_TAGS, room)]


def new_values(schedule: str = "") -> Values:
    """The fields of a new job: what the API takes by default stays empty, and is shown beside the field."""
    switches = {"enabled": True, "async": True, "test_invocation": True}
    texts = {"invocation_type": "http", "catch_up": "none", "overlap": "allow"}
    return Values(texts, switches, ["fail"], (), schedule, False)


def values_of(job: Mapping[str, Any]) -> Values:
    """The fields of a job of the API, or of a body of a PUT."""
    retry = job.get("retry", {})
    texts = {name: str(job[name]) for name in (*TEXTS, *NUMBERS) if name in job}
    texts["overlap"] = overlap_of(job)
    texts |= {f"retry.{name}": _number(retry[name]) for name in RETRY_NUMBERS if name in retry}
    texts["after"] = " ".join(parents_as_texts(job.get("after", [])))
    switches = {
        "enabled": job.get("enabled", True),
        "async": job.get("async", True),
        "test_invocation": job.get("test_invocation", True),
    }
    tags = [(str(name), str(value)) for name, value in job.get("tags", {}).items()]
    values = Values(
        texts, switches, list(retry.get("on", ["fail"])), tags, str(job.get("schedule", "")), False
    )
    # The key of a rate has no time zone, so who chose it from the list would lose that of the job.
    return replace(values, is_another=timing_of_key(values.timing.key) != values.timing)


def read(form: Form) -> tuple[Values, Job]:
    """What a form holds, as fields and as the body of a PUT. Fields with an error are not in the body."""
    errors: dict[str, str] = {}
    names = (*TEXTS, *NUMBERS, *(f"retry.{name}" for name in RETRY_NUMBERS), "after")
    texts = {name: form.text(name) for name in names}
    switches = {name: name in form for name in SWITCHES}
    choice = form.text("schedule")
    is_another = choice == ANOTHER
    if is_another:
        schedule = form.text("schedule_text").strip()
        texts |= {name: texts[name].strip() for name in TIMING}
    else:
        chosen = timing_of_key(choice)
        zone = "" if chosen.time_zone == UTC_NAME else chosen.time_zone
        schedule = chosen.schedule
        texts |= {"time_zone": zone, "start_at": chosen.start_at or "", "end_at": chosen.end_at or ""}
    after = [parent_of_text(text) for text in texts["after"].split()]
    if after and schedule:
        errors["/after"] = "a job has either a schedule or jobs after which it runs"
    elif not after and not schedule:
        errors["/schedule"] = "choose a schedule, or write one such as cron(0 2 * * ? *)"
    tags = _tags(form, errors)
    body: dict[str, Any] = dict(switches)
    if texts["invocation_type"] == "sns":
        # The form shows these for webhooks only.
        del body["async"], body["test_invocation"]
    if schedule:
        body["schedule"] = schedule
    body |= _without_defaults({name: texts[name] for name in TEXTS if texts[name]})
    if after:
        body["after"] = after
        if body.get("catch_up") == "none":  # which the form shows for all jobs
            del body["catch_up"]
    for name in NUMBERS:
        _put_number(body, name, texts[name], f"/{name}", errors)
    retry = _retry(form, texts, errors)
    body |= ({"retry": retry} if retry else {}) | ({"tags": dict(tags)} if tags else {})
    return Values(texts, switches, form.texts("retry.on"), tags, schedule, is_another, errors), cast(
        Job, body
    )


def unknown_fields(job: Mapping[str, Any]) -> list[str]:
    """The fields of a job that this form does not know, so that saving it would reset them."""
    return sorted(job.keys() - _SHOWN_FIELDS - set(KEPT_FIELDS))


def kept(job: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a job that a PUT sets. Defaults that earlier versions do not know are left out."""
    found = {name: job[name] for name in KEPT_FIELDS if name in job}
    return _without_defaults(found | {"overlap": overlap_of(job)})


def _without_defaults(job: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in job.items() if (name, value) not in _DEFAULTS}


@dataclass(frozen=True)
class Difference:
    """A field that others have changed, and that is not the same in one's own version.

    None: the job has no such field. ``is_mine`` is whether one has changed it oneself, too.
    """

    name: str
    before: Any
    theirs: Any
    mine: Any
    is_mine: bool


def differences(
    before: Mapping[str, Any], theirs: Mapping[str, Any], mine: Mapping[str, Any]
) -> list[Difference]:
    """What others have changed since ``before``, where it differs from ``mine``."""
    found = []
    for name in KEPT_FIELDS:
        was, now, own = before.get(name), theirs.get(name), mine.get(name)
        if now not in (was, own):
            found.append(Difference(name, was, now, own, own != was))
    return found


def _tags(form: Form, errors: dict[str, str]) -> list[tuple[str, str]]:
    pairs = zip(form.texts("tag_name"), form.texts("tag_value"), strict=False)
    tags = [(name, value.replace("\r\n", "\n")) for name, value in pairs if name or value]
    if any(not name for name, _ in tags):
        errors["/tags"] = "a value has no name"
    elif len({name for name, _ in tags}) < len(tags):
        errors["/tags"] = "two tags have the same name"
    return tags


def _retry(form: Form, texts: Mapping[str, str], errors: dict[str, str]) -> dict[str, Any]:
    """The field ``retry``; empty if no number of attempts was given."""
    if not texts["retry.max_attempts"].strip():
        if any(texts[f"retry.{name}"].strip() for name in RETRY_NUMBERS[1:]):
            errors["/retry/max_attempts"] = (
                "say how many attempts there may be, or leave the others empty, too"
            )
        return {}
    retry: dict[str, Any] = {}
    for name in RETRY_NUMBERS:
        _put_number(retry, name, texts[f"retry.{name}"], f"/retry/{name}", errors)
    retry["on"] = [each for each in RETRIED if each in form.texts("retry.on")]
    if not retry["on"]:
        errors["/retry/on"] = "choose after which ends to try again"
    return retry


def _put_number(body: dict[str, Any], name: str, text: str, pointer: str, errors: dict[str, str]) -> None:
    text = text.strip()
    if not text:
        return
    is_factor = name == "backoff_rate"
    if not (_FACTOR if is_factor else _WHOLE).fullmatch(text):
        errors[pointer] = f"expected {'a number such as 2 or 1.5' if is_factor else 'a whole number'}"
        return
    body[name] = float(text) if is_factor else int(text)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)
