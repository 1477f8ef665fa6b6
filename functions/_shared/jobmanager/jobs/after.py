"""The field ``after`` of a job: its errors, and its canonical form.

Whether the jobs that it names exist, and whether they form a circle, is decided when the job is saved
(:mod:`jobmanager.jobs.chains`).
"""

from collections.abc import Mapping
from typing import Any

from jobmanager.core.errors import FieldError, pointer_to
from jobmanager.core.names import NAME_EXPECTED, is_name
from jobmanager.jobs.definition import After

ENDS = ("success", "fail", "timeout", "cancelled")
"""The ends after which a job may run. A skipped execution did not run, so nothing follows it."""

_DEFAULT_ENDS = ["success"]
ONLY_OF_SCHEDULES = (
    "time_zone",
    "start_at",
    "end_at",
    "catch_up",
    "catch_up_window_seconds",
    "spread_seconds",
)


def start_errors(body: Mapping[str, Any]) -> list[FieldError]:
    """Returns the error if a body has neither ``schedule`` nor ``after``, or both."""
    if ("schedule" in body) != ("after" in body):
        return []
    if "after" in body:
        detail = "expected either schedule or after, not both"
        return [FieldError(pointer="/after", detail=detail)]
    return [FieldError(pointer="/schedule", detail="this field is required, unless the job has after")]


def after_errors(body: Mapping[str, Any]) -> list[FieldError]:
    """Returns the errors in ``after``, which fits the schema, and in fields that only schedules have."""
    if "after" not in body:
        return []
    errors = []
    parents = _as_list(body["after"])
    for number, parent in enumerate(parents):
        name, pointer = parent["job"], _pointer_to(body["after"], number)
        if not is_name(name):
            errors.append(FieldError(pointer=pointer, detail=NAME_EXPECTED))
        elif name in [earlier["job"] for earlier in parents[:number]]:
            errors.append(FieldError(pointer=pointer, detail=f"expected each job once, and not {name} again"))
    for name in ONLY_OF_SCHEDULES:
        if name in body:
            detail = "expected no such field with after: only a schedule has it"
            errors.append(FieldError(pointer=f"/{name}", detail=detail))
    return errors


def own_name_errors(body: Any, job_name: str) -> list[FieldError]:
    """Returns the error if a job is to run after itself."""
    after = body.get("after") if isinstance(body, dict) else None
    parents = after if isinstance(after, list) else [after]
    detail = "expected another job: a job cannot run after itself"
    return [
        FieldError(pointer=_pointer_to(after, number), detail=detail)
        for number, parent in enumerate(parents)
        if isinstance(parent, dict) and parent.get("job") == job_name
    ]


def canonical_after(body: Mapping[str, Any]) -> list[After]:
    """Returns ``after`` of a body without errors as a list, with the ends of each in one order."""
    return [
        After(job=parent["job"], on=[end for end in ENDS if end in parent.get("on", _DEFAULT_ENDS)])
        for parent in _as_list(body["after"])
    ]


def parents_of(job: Mapping[str, Any]) -> list[str]:
    """Returns the names of the jobs after which a job runs; empty if it has a schedule."""
    return [parent["job"] for parent in job.get("after", [])]


def ends_of(job: Mapping[str, Any], parent: str) -> list[str]:
    """Returns the ends of a parent after which a job runs; empty if that is no parent of it."""
    return next((each["on"] for each in job.get("after", []) if each["job"] == parent), [])


def _as_list(after: Any) -> list[Any]:
    return after if isinstance(after, list) else [after]


def _pointer_to(after: Any, number: int) -> str:
    return pointer_to("after", number, "job") if isinstance(after, list) else pointer_to("after", "job")
