"""Jobs that run after others in a plan: which of them, after which ends, and how that changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobmanager.jobs.after import ENDS, ONLY_OF_SCHEDULES
from tests.simulation.choices import Choices

type Json = dict[str, Any]

CHANGE = "change the chain"
EACH_MINUTE = {"schedule": "cron(* * * * ? *)"}

_MOST_PARENTS = 10
_WIDE = "wide"
_LINE = ((), (0,), (1,))
_DIAMOND = ((), (0,), (0,), (1, 2))
_SHAPES = (
    _LINE,
    _LINE,
    _DIAMOND,
    _DIAMOND,
    ((), (), (0, 1)),
    ((), (), (0, 1), (2,)),
    ((), (0,), (0, 1)),
    ((), (0,), (0,)),
    _WIDE,
)
_ENDS = (
    *((),) * 8,
    ("success", "fail"),
    ("success", "fail", "timeout"),
    ("fail", "timeout"),
    ("cancelled", "success"),
    ("cancelled",),
    ENDS,
)
"""After which ends a job runs; the empty ones are left out of its body."""

_CHANGES = ("parents", "parents", "parents", "ends", "ends", "a schedule")


def parents_of_jobs(choices: Choices) -> tuple[tuple[int, ...], ...]:
    """The parents of each job of a run, by their numbers."""
    shape = choices.one_of("shape of the chain", _SHAPES)
    if shape == _WIDE:
        number = choices.between("parents of the last", 3, _MOST_PARENTS)
        return (*((),) * number, tuple(range(number)))
    return shape  # type: ignore[return-value]


def chained(choices: Choices, label: str, body: Json, parents: Sequence[str]) -> Json:
    """A body in which the job runs after others, instead of on its schedule."""
    fields = {name: value for name, value in body.items() if name not in ("schedule", *ONLY_OF_SCHEDULES)}
    after = [_parent(choices, f"{label} after {parent}", parent) for parent in parents]
    is_alone = len(after) == 1 and choices.fraction(f"{label} has a list") < 1 / 2
    return fields | {"after": after[0] if is_alone else after}


def changed(choices: Choices, label: str, bodies: Mapping[str, Json], job_name: str) -> Json:
    """What another body of a job has: other parents, other ends of them, or a schedule.

    A job that comes later may be among the parents. If the chain were a circle, the request is refused.
    """
    body = bodies[job_name]
    what = choices.one_of(f"{label} what", _CHANGES)
    if what == "a schedule":
        return {name: value for name, value in body.items() if name != "after"} | EACH_MINUTE
    after = body.get("after", [])
    parents = [each["job"] for each in ([after] if isinstance(after, dict) else after)]
    if what == "parents" or not parents:
        parents = _others(choices, label, list(bodies), job_name)
    return chained(choices, label, body, parents)


def _others(choices: Choices, label: str, names: list[str], job_name: str) -> list[str]:
    number = names.index(job_name)
    is_any = number == 0 or choices.fraction(f"{label} any parents") < 1 / 4
    others = [name for name in names if name != job_name] if is_any else names[:number]
    mixed = sorted(others, key=lambda name: choices.fraction(f"{label} parent {name}"))
    return sorted(mixed[: choices.between(f"{label} number", 1, min(3, len(mixed)))])


def _parent(choices: Choices, label: str, name: str) -> Json:
    ends = choices.one_of(f"{label} on", _ENDS)
    return {"job": name, "on": list(ends)} if ends else {"job": name}
