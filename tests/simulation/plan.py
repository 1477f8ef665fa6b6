"""What is done to the stage in a run: jobs, and what people and programs do to them, by a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.simulation.choices import Choices

type Json = dict[str, Any]

SERVICE = "billing"
_SCHEDULES = ("rate(1 minute)", "cron(* * * * ? *)", "cron(0/2 * * * ? *)")
_OF_JOBS = ("put", "put", "delete", "pause", "pause for a while", "resume")
_OF_RUNS = ("run now", "run now", "cancel", "cancel", "rerun", "tick again", "stop the machine")
_OF_TYPES = ("change the type", "tick again", "tick again")
_OF_UPKEEP = ("reap", "reconcile", "disable the rule", "create a secret")
_KINDS = {
    "changes of jobs": _OF_JOBS,
    "runs by hand": _OF_RUNS,
    "changes of types": _OF_TYPES,
    "anything": (*_OF_JOBS, *_OF_RUNS, *_OF_TYPES, *_OF_UPKEEP),
}
_OTHER = {"": "express", "standard": "express", "express": "standard"}
BY_HAND = ("stop the machine", "disable the rule")
"""What a person does past the API."""

LARGE = 5000
"""The length of a payload or a state that stands in an item of its own."""

_LAST_ACTION_MS = 240_000
_HOT = 0.7


@dataclass(frozen=True)
class Action:
    """One thing that somebody does at a time, in ms from the beginning of the run."""

    label: str
    at_ms: int
    kind: str
    job_name: str = ""
    body: Json = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.at_ms / 1000:.1f} s: {self.label}: {self.kind} {self.job_name} {self.body or ''}".rstrip()
        )


def actions_of(choices: Choices) -> list[Action]:
    """The actions of a seed: jobs that are made first, and what is done to them."""
    jobs = [f"job-{number}" for number in range(choices.between("jobs", 1, 3))]
    bodies = {name: _body(choices, name) for name in jobs}
    found = [
        Action(f"make {name}", choices.between(f"make {name}", 0, 4000), "put", name, body)
        for name, body in bodies.items()
    ]
    kinds = _KINDS[choices.one_of("theme", tuple(_KINDS))]
    hot_ms = [_hot(choices, f"hot {number}") for number in range(2)]
    for number in range(choices.between("actions", 0, 10)):
        label = f"action {number}"
        kind = choices.one_of(f"{label} kind", kinds)
        job_name = choices.one_of(f"{label} job", jobs)
        at_ms = choices.between(f"{label} time", 10_000, _LAST_ACTION_MS)
        if choices.fraction(f"{label} is hot") < _HOT:
            # Most faults need two who act at the same moment.
            at_ms = choices.one_of(f"{label} hot", hot_ms) + choices.between(f"{label} later", 0, 300)
        body = {}
        if kind == "put":
            body = _body(choices, f"{job_name} {label}")
        elif kind == "change the type":
            body = bodies[job_name] | {"workflow_type": _OTHER[bodies[job_name].get("workflow_type", "")]}
        found.append(Action(label, at_ms, kind, job_name, body))
    return found


def _hot(choices: Choices, label: str) -> int:
    """A moment at which several act; half of them lie in the second after a tick."""
    at_ms = choices.between(label, 4000, _LAST_ACTION_MS) // 500 * 500
    return (
        at_ms // 60_000 * 60_000 + at_ms % 1500 if choices.fraction(f"{label} at a tick") < 1 / 2 else at_ms
    )


def _body(choices: Choices, label: str) -> Json:
    def one_in(number: int, what: str) -> bool:
        return choices.fraction(f"{label} {what}") < 1 / number

    ttl = choices.one_of(f"{label} ttl", (10, 20, 60, 400))
    body: Json = {
        "schedule": choices.one_of(f"{label} schedule", _SCHEDULES),
        "test_invocation": False,
        "ttl_seconds": ttl,
        "max_duration_seconds": max(choices.one_of(f"{label} longest", (61, 150, 300)), ttl + 100),
        "exclusive": not one_in(3, "overlaps"),
    }
    if one_in(4, "sync"):
        body |= {"async": False, "ttl_seconds": min(ttl, 60)}
    elif one_in(3, "beat"):
        body["heartbeat_interval_seconds"] = choices.one_of(f"{label} interval", (5, 10))
    if body.get("async", True) and one_in(3, "sns"):
        body |= {"invocation_type": "sns"}
    else:
        body |= {"invocation_type": "http", "invocation_target": "https://billing.example/jobs"}
    if one_in(2, "retry"):
        body["retry"] = {
            "max_attempts": choices.between(f"{label} attempts", 2, 3),
            "interval_seconds": choices.one_of(f"{label} wait", (1, 20)),
            "on": choices.one_of(f"{label} on", (["fail"], ["timeout"], ["fail", "timeout"])),
        }
        body["max_duration_seconds"] = max(400, body["ttl_seconds"] + 100)
    if not one_in(5, "has no type"):
        body["workflow_type"] = choices.one_of(f"{label} type", ("standard", "express"))
    if one_in(4, "catch up"):
        body["catch_up"] = "one"
    if one_in(5, "deadline"):
        body["starting_deadline_seconds"] = 30
    if one_in(8, "disabled"):
        body["enabled"] = False
    if one_in(2, "payload"):
        body["payload"] = payload_of(body["ttl_seconds"], choices.one_of(f"{label} size", (0, LARGE, LARGE)))
    return body | _told(choices, label)


def _told(choices: Choices, label: str) -> Json:
    """What is told of executions that fail or run long, and what follows."""
    limits: Json = {}
    if choices.fraction(f"{label} alert") < 1 / 3:
        limits["alert_after_failures"] = choices.between(f"{label} alert", 1, 2)
    if choices.fraction(f"{label} warning") < 1 / 3:
        limits["warn_after_seconds"] = choices.one_of(f"{label} warning", (10, 90))
    if choices.fraction(f"{label} pause") < 1 / 6:
        limits["pause_after_failures"] = choices.between(f"{label} pause", 1, 2)
    return limits


def payload_of(ttl_seconds: int, size: int = 0) -> str:
    """A payload that tells of which definition it is."""
    return f"{ttl_seconds} ".ljust(size, "x")
