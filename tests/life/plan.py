"""What shall happen in a life: drawn from a seed, and from nothing else.

Jobs and schedules have numbers here; their names are the running stage's. How a service conducts itself when
it is notified is part of a job's payload, so that it is planned too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from tests.life.conduct import conducts

TTL = 10
STEADY_JOB = "steady"
"""A job that nobody touches: its rule fires every minute, by itself."""

_MOST_JOBS, _JOBS_A_SCHEDULE = 12, 3
_CONDUCTS_OF_A_JOB = 6
_SECONDS_OF_SETTING_UP = 3.0
_STOPS_UNTIL = 0.6
"""What only the reaper ends takes a minute more, so no machine is stopped towards the end."""

_WEIGHTS = {
    "tick": 30,
    "tick twice at once": 6,
    "tick again": 5,
    "late tick": 4,
    "missed tick": 2,
    "put": 13,
    "put twice at once": 3,
    "pause": 5,
    "pause for a while": 3,
    "resume": 8,
    "delete": 4,
    "run": 5,
    "run twice with one key": 3,
    "cancel": 5,
    "rerun": 4,
    "look": 5,
    "stop the machine": 1,
    "delete the rule": 1,
    "disable the rule": 1,
    "reap": 1,
    "reconcile": 1,
}
_OF_SCHEDULES = {
    "tick",
    "tick twice at once",
    "tick again",
    "late tick",
    "missed tick",
    "delete the rule",
    "disable the rule",
}
_OF_THE_STAGE = {"reap", "reconcile"}


@dataclass(frozen=True)
class Action:
    """What shall happen ``at`` so many seconds, to a job or to a schedule, each by its number."""

    at: float
    what: str
    job: int | None = None
    schedule: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """All of a life."""

    seed: int
    seconds: float
    jobs: int
    schedules: int
    actions: tuple[Action, ...]

    @property
    def digest(self) -> str:
        """Equal for equal plans."""
        text = json.dumps([asdict(action) for action in self.actions], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def plan(seed: int, seconds: float, gap_seconds: float, jobs: int = _MOST_JOBS) -> Plan:
    """The plan of a seed: one action every ``gap_seconds`` on average."""
    random = Random(seed)
    schedules = max(2, jobs // _JOBS_A_SCHEDULE)
    actions = [
        Action(random.uniform(0, _SECONDS_OF_SETTING_UP), "put", number, more=_job(random, schedules))
        for number in range(jobs)
    ]
    at = _SECONDS_OF_SETTING_UP
    while (at := at + random.expovariate(1 / gap_seconds)) < seconds:
        what = random.choices([*_WEIGHTS], [*_WEIGHTS.values()])[0]
        if what == "stop the machine" and at > seconds * _STOPS_UNTIL:
            what = "tick"
        actions.append(_action(random, at, what, jobs, schedules))
    return Plan(seed, seconds, jobs, schedules, tuple(sorted(actions, key=lambda action: action.at)))


def _action(random: Random, at: float, what: str, jobs: int, schedules: int) -> Action:
    if what in _OF_THE_STAGE:
        return Action(at, what)
    if what in _OF_SCHEDULES:
        more = {"late_seconds": random.choice([3, 8, 40])} if what in ("late tick", "missed tick") else {}
        return Action(at, what, schedule=random.randrange(schedules), more=more)
    return Action(at, what, random.randrange(jobs), more=_more(random, what, schedules))


def _more(random: Random, what: str, schedules: int) -> dict[str, Any]:
    match what:
        case "put":
            return _job(random, schedules)
        case "put twice at once":
            return {"first": _job(random, schedules), "second": _job(random, schedules)}
        case "pause for a while":
            return {"seconds": random.randint(3, 15)}
        case "run" if random.random() < 0.5:
            return {"payload": _payload(random)}
        case _:
            return {}


def _job(random: Random, schedules: int) -> dict[str, Any]:
    """The body of a PUT, but for names: ``schedule`` is a number, and the target is missing."""
    kind = random.choice(["http", "http", "sns", "sync"])
    job: dict[str, Any] = {
        "schedule": random.randrange(schedules),
        "invocation_type": "sns" if kind == "sns" else "http",
        "async": kind != "sync",
        "enabled": random.random() < 0.93,
        "exclusive": random.random() < 0.5,
        "ttl_seconds": TTL,
        "payload": _payload(random),
        "catch_up": random.choice(["none", "one"]),
        "test_invocation": random.random() < 0.2,
    }
    if job["async"] and random.random() < 0.3:
        job["heartbeat_interval_seconds"] = random.choice([5, 8])
    if random.random() < 0.3:
        # From hardly more than the ttl_seconds to what lets a second attempt in.
        job["max_duration_seconds"] = random.randint(TTL + 4, 3 * TTL)
    if random.random() < 0.3:
        job["starting_deadline_seconds"] = random.choice([5, 30])
    if random.random() < 0.4:
        job["retry"] = {
            "max_attempts": random.choice([2, 3]),
            "interval_seconds": random.choice([1, 3]),
            "backoff_rate": 1,
            "on": random.choice([["fail"], ["fail", "timeout"], ["timeout"]]),
        }
    if random.random() < 0.2:
        job["alert_after_failures"] = 2
    return job


def _payload(random: Random) -> str:
    return json.dumps({"conducts": conducts(random, _CONDUCTS_OF_A_JOB)})
