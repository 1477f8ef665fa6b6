"""The jobs after which a job runs: as the API keeps them, in an option or a field, and in words."""

from collections.abc import Mapping
from typing import Any

_SUCCESS = ("success",)


def canonical_after(after: Any) -> list[Any]:
    """The jobs after which a job runs, as the API keeps them: a list, each with its ends."""
    parents = after if isinstance(after, list) else [after]
    return [{"job": each["job"], "on": each.get("on", list(_SUCCESS))} for each in parents]


def parents_of(job: Mapping[str, Any]) -> list[str]:
    """The names of the jobs after which a job runs; empty if it has a schedule."""
    return [each["job"] for each in canonical_after(job["after"])] if "after" in job else []


def parents_in_words(after: Any) -> list[str]:
    """Each of the jobs after which a job runs: ``nightly``, or ``nightly (fail, timeout)``."""
    return [
        each["job"] if _is_success(each) else f"{each['job']} ({', '.join(each['on'])})"
        for each in canonical_after(after)
    ]


def parents_as_texts(after: Any) -> list[str]:
    """Each of the jobs after which a job runs, as somebody writes it: ``nightly:fail,timeout``."""
    return [
        each["job"] if _is_success(each) else f"{each['job']}:{','.join(each['on'])}"
        for each in canonical_after(after)
    ]


def parent_of_text(text: str) -> dict[str, Any]:
    """A job after which another runs, of a text such as ``nightly:fail,timeout``."""
    job, colon, ends = text.partition(":")
    return {"job": job, "on": ends.split(",") if colon else list(_SUCCESS)}


def _is_success(parent: Mapping[str, Any]) -> bool:
    return tuple(parent["on"]) == _SUCCESS
