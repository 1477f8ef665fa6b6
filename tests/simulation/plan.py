"""What is done to the stage in a run: jobs, and what people and programs do to them, by a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobmanager.core.clock import iso
from jobmanager.jobs.after import ONLY_OF_SCHEDULES
from tests.simulation import chain_plan
from tests.simulation.choices import Choices
from tests.simulation.timings import TICKS_LAST_MS, ZONES, once, start_of, timing_of

type Json = dict[str, Any]

SERVICE = "billing"
PUT_BACK, MAKE_AGAIN = "put back", "make again"
_OF_JOBS = ("put", "put", "delete", "pause", "pause for a while", "resume")
_OF_RUNS = ("run now", "run now", "cancel", "cancel", "rerun", "tick again", "stop the machine")
_OF_TYPES = ("change the type", "tick again", "tick again")
_OF_TIMINGS = ("put", "change the zone", "change the zone", "end early", "fire once", "tick again")
BY_HAND_ON_TRIGGERS = ("disable the trigger", "delete the trigger", "change the trigger")
_OF_WAITING = (
    *("run now",) * 5,
    "tick again",
    "cancel",
    "cancel one that waits",
    "cancel one that waits",
    "change the overlap",
    "change the overlap",
    "delete",
    "rerun",
)
_OF_CHAINS = (
    *("run now",) * 6,
    *("cancel",) * 2,
    *("rerun",) * 3,
    *("delete",) * 2,
    *(PUT_BACK,) * 2,
    *(MAKE_AGAIN,) * 3,
    *(chain_plan.CHANGE,) * 4,
    "cancel one that waits",
    "pause",
    "pause for a while",
    "resume",
    "tick again",
    "tick again",
    "change the type",
    "change the overlap",
    "stop the machine",
)
_OF_LIMITS = ("change the limit", "change the limit", "make the limit again", "change whether limited")
_OF_UPKEEP = ("reap", "reconcile", *BY_HAND_ON_TRIGGERS, "create a secret")
_KINDS = {
    "changes of jobs": _OF_JOBS,
    "runs by hand": _OF_RUNS,
    "changes of types": _OF_TYPES,
    "changes of timings": (
        *_OF_TIMINGS,
        *_OF_TIMINGS,
        "pause for a while",
        "reconcile",
        *BY_HAND_ON_TRIGGERS,
    ),
    "anything": (*_OF_JOBS, *_OF_RUNS, *_OF_TYPES, *_OF_TIMINGS, *_OF_UPKEEP),
    "runs that wait": (*_OF_WAITING, *_OF_WAITING, *_OF_RUNS),
}
_WAITING = "runs that wait"
_MOST_ACTIONS, _MOST_OF_SOME = 10, 16
_CHAINS_LIKELIHOOD = 0.2
_OVERLAPS = (
    "queue_one",
    "queue_one",
    "queue_all",
    "queue_all",
    "cancel_running",
    "cancel_running",
    "skip",
    "allow",
)
_OTHER = {"": "express", "standard": "express", "express": "standard"}
BY_HAND = ("stop the machine", *BY_HAND_ON_TRIGGERS)
"""What a person does past the API."""

LARGE = 5000
"""The length of a payload or a state that stands in an item of its own."""

LIMIT = "db-main"
STARTING_DEADLINE_SECONDS = 30

_LAST_ACTION_MS = TICKS_LAST_MS
_HOT = 0.7
_EACH_MINUTE = 0.8
_SPREAD, _DEADLINE = 0.2, 0.2


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
    start_ms = start_of(choices)
    theme = choices.one_of("theme", tuple(_KINDS))
    is_of_chains = choices.fraction("there are chains") < _CHAINS_LIKELIHOOD
    waits = _Waits.of(choices, is_theme=theme == _WAITING)
    earliest_ms = 1000 if waits.is_limited else 0
    if is_of_chains:
        found = _made_as_chain(choices, start_ms, earliest_ms, waits)
    else:
        found = _made(choices, start_ms, earliest_ms, waits)
    bodies = {action.job_name: action.body for action in found}
    jobs = list(bodies)
    kinds = _OF_CHAINS if is_of_chains else _KINDS[theme]
    if waits.is_limited:
        found.insert(0, Action("make the limit", 0, "change the limit", body=_limit(choices, "limit")))
        kinds = (*kinds, *_OF_LIMITS)
    hot_ms = [_hot(choices, f"hot {number}") for number in range(2)]
    most = _MOST_OF_SOME if is_of_chains or theme == _WAITING else _MOST_ACTIONS
    for number in range(choices.between("actions", 0, most)):
        label = f"action {number}"
        kind = choices.one_of(f"{label} kind", kinds)
        job_name = choices.one_of(f"{label} job", jobs)
        at_ms = choices.between(f"{label} time", 10_000, _LAST_ACTION_MS)
        if choices.fraction(f"{label} is hot") < _HOT:
            # Most faults need two who act at the same moment.
            at_ms = choices.one_of(f"{label} hot", hot_ms) + choices.between(f"{label} later", 0, 300)
        if kind == "make the limit again":
            body = _limit_again(choices, label, bodies)
        elif kind == chain_plan.CHANGE:
            body = chain_plan.changed(choices, f"{job_name} {label}", bodies, job_name)
        else:
            body = _body_of(choices, kind, f"{job_name} {label}", bodies[job_name], start_ms, at_ms, waits)
        found.append(Action(label, at_ms, kind, job_name, body))
    return found


def _made(choices: Choices, start_ms: int, earliest_ms: int, waits: _Waits) -> list[Action]:
    """The jobs of a run, each on its schedule."""
    fewest, most = (2, 4) if waits.is_limited else (1, 3)
    names = [f"job-{number}" for number in range(choices.between("jobs", fewest, most))]
    return [
        Action(
            f"make {name}",
            choices.between(f"make {name}", earliest_ms, 4000),
            "put",
            name,
            _body(choices, name, start_ms, 0, waits),
        )
        for name in names
    ]


def _made_as_chain(choices: Choices, start_ms: int, earliest_ms: int, waits: _Waits) -> list[Action]:
    """The jobs of a run that run after each other. Most of those before all others run each minute."""
    found: list[Action] = []
    for number, parents in enumerate(chain_plan.parents_of_jobs(choices)):
        name = f"job-{number}"
        body = _body(choices, name, start_ms, 0, waits)
        at_ms = choices.between(f"make {name}", earliest_ms, 4000)
        if parents:
            body = chain_plan.chained(choices, name, body, [f"job-{parent}" for parent in parents])
            at_ms += max(found[parent].at_ms for parent in parents)
        elif choices.fraction(f"{name} runs each minute") < _EACH_MINUTE:
            body = {name: body[name] for name in body if name not in ONLY_OF_SCHEDULES}
            body |= chain_plan.EACH_MINUTE
        found.append(Action(f"make {name}", at_ms, "put", name, body))
    return found


def _body_of(
    choices: Choices, kind: str, label: str, first: Json, start_ms: int, at_ms: int, waits: _Waits
) -> Json:
    """What an action puts. ``first``: the body with which the job was made."""
    if kind == "put":
        return _body(choices, label, start_ms, at_ms, waits)
    if kind == PUT_BACK:
        return first
    if kind == MAKE_AGAIN:
        return {"after_ms": choices.one_of(f"{label} after", (0, 300, 2000, 60_000)), "job": first}
    if kind == "change the type":
        return first | {"workflow_type": _OTHER[first.get("workflow_type", "")]}
    if kind == "change the zone":
        return first | {"time_zone": choices.one_of(f"{label} zone", ZONES)}
    if kind == "end early":
        return first | {"end_at": iso(start_ms + at_ms + choices.between(f"{label} end", -30_000, 60_000))}
    if kind == "fire once":
        unbounded = {name: value for name, value in first.items() if name not in ("start_at", "end_at")}
        zone = choices.one_of(f"{label} zone", ZONES)
        return unbounded | once(choices, label, zone, start_ms, at_ms)
    return _body_of_waiting(choices, kind, label, first)


def _body_of_waiting(choices: Choices, kind: str, label: str, first: Json) -> Json:
    """What an action puts that changes how executions wait."""
    if kind == "change the overlap":
        return _with_overlap(first, choices.one_of(f"{label} overlap", _OVERLAPS))
    if kind == "change the limit":
        return _limit(choices, label)
    if kind == "change whether limited":
        return _without_limit(first) if "limit" in first else first | {"limit": LIMIT}
    return {}


def _hot(choices: Choices, label: str) -> int:
    """A moment at which several act; half of them lie in the second after a tick."""
    at_ms = choices.between(label, 4000, _LAST_ACTION_MS) // 500 * 500
    return (
        at_ms // 60_000 * 60_000 + at_ms % 1500 if choices.fraction(f"{label} at a tick") < 1 / 2 else at_ms
    )


@dataclass(frozen=True)
class _Waits:
    """How likely the jobs of a run let executions wait, and whether there is a limit."""

    likelihood: float
    is_limited: bool

    @staticmethod
    def of(choices: Choices, is_theme: bool) -> _Waits:
        """By the seed: seldom, unless that is the theme."""
        is_limited = choices.fraction("there is a limit") < (1 / 2 if is_theme else 1 / 6)
        return _Waits(0.9 if is_theme else 0.2, is_limited)


def _limit(choices: Choices, label: str) -> Json:
    slots = {"slots": choices.one_of(f"{label} slots", (1, 1, 1, 2, 2, 3))}
    per_second = {"per_second": choices.one_of(f"{label} per second", (1, 1, 2, 5))}
    return choices.one_of(f"{label} limits", (slots, slots, per_second, per_second, slots | per_second))


def _limit_again(choices: Choices, label: str, bodies: Mapping[str, Json]) -> Json:
    """What it takes to delete a limit, and to make it again: no job may name it."""
    return {
        "without": {name: _without_limit(body) for name, body in bodies.items() if "limit" in body},
        "after_ms": choices.one_of(f"{label} after", (0, 300, 4000, 60_000)),
        "limit": _limit(choices, label),
        "with": {name: body for name, body in bodies.items() if "limit" in body},
    }


def _without_limit(body: Json) -> Json:
    return {name: value for name, value in body.items() if name != "limit"}


def _with_overlap(body: Json, overlap: str) -> Json:
    return {name: value for name, value in body.items() if name != "exclusive"} | {"overlap": overlap}


def _body(choices: Choices, label: str, start_ms: int, at_ms: int, waits: _Waits) -> Json:
    def one_in(number: int, what: str) -> bool:
        return choices.fraction(f"{label} {what}") < 1 / number

    ttl = choices.one_of(f"{label} ttl", (10, 20, 60, 400))
    timing = timing_of(choices, label, start_ms, at_ms)
    if waits.is_limited and not one_in(4, "own timing"):
        timing = {"schedule": "cron(* * * * ? *)"}  # so that several want a slot at once
    body: Json = {
        **timing,
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
    body |= _by_ticks(choices, label)
    if one_in(8, "disabled"):
        body["enabled"] = False
    if one_in(2, "payload"):
        body["payload"] = payload_of(body["ttl_seconds"], choices.one_of(f"{label} size", (0, LARGE, LARGE)))
    if choices.fraction(f"{label} waits") < waits.likelihood:
        body = _with_overlap(body, choices.one_of(f"{label} overlap", _OVERLAPS))
    if waits.is_limited and not one_in(5, "no limit"):
        body["limit"] = LIMIT
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


def _by_ticks(choices: Choices, label: str) -> Json:
    """How a job goes by its ticks: what it catches up, how much later it starts, until when it may start."""
    body: Json = {}
    catch_up = choices.one_of(f"{label} catch up", ("none", "none", "none", "none", "one", "one", "all"))
    if catch_up != "none":
        body["catch_up"] = catch_up
    if catch_up == "all":
        body["catch_up_window_seconds"] = choices.one_of(f"{label} window", (60, 420, 600))
    if choices.fraction(f"{label} spread") < _SPREAD:
        body["spread_seconds"] = choices.one_of(f"{label} spread over", (5, 60, 300, 1200))
    if choices.fraction(f"{label} deadline") < _DEADLINE:
        body["starting_deadline_seconds"] = STARTING_DEADLINE_SECONDS
    return body


def payload_of(ttl_seconds: int, size: int = 0) -> str:
    """A payload that tells of which definition it is."""
    return f"{ttl_seconds} ".ljust(size, "x")
