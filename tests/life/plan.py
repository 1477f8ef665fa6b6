"""Plans a life from a seed alone.

Jobs and schedules have numbers here, and get their names when the plan runs. How a service reacts to a
notification is part of the job's payload, so it is planned too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from tests.life.conduct import conducts

TTL = 10
WORKFLOW_TYPES = ("standard", "express")
STEADY_JOB = "steady"
"""A job that no action changes. EventBridge itself fires its rule every minute."""

MOVING_JOB = "moving"
"""A job that moves between two schedules around each minute. EventBridge fires both then."""

_MOST_JOBS, _JOBS_A_SCHEDULE = 12, 3
_CHAINED_JOBS, _LIMITS = 4, 3
_OVERLAPS = {"allow": 32, "skip": 17, "queue_one": 17, "queue_all": 17, "cancel_running": 17}
_ENDS = {
    ("success",): 6,
    ("fail", "timeout"): 2,
    ("success", "fail", "timeout"): 2,
    ("success", "cancelled"): 2,
}
"""After which ends of another job a job runs, in the order in which a job shows them."""

_CONDUCTS_OF_A_JOB = 6
_SECONDS_OF_SETTING_UP = 3.0
_STOPS_UNTIL = 0.6
"""No machine is stopped after this share of the life, because its execution ends a minute later."""

_WEIGHTS = {
    "tick": 30,
    "tick twice at once": 6,
    "tick again": 5,
    "redrive an old tick": 5,
    "late tick": 4,
    "missed tick": 3,
    "put": 13,
    "put twice at once": 3,
    "move at a tick": 7,
    "pause": 4,
    "pause for a while": 3,
    "resume early": 5,
    "resume": 8,
    "delete": 4,
    "delete between attempts": 5,
    "pause between attempts": 4,
    "run": 5,
    "run twice with one key": 3,
    "run its parents": 6,
    "cancel": 5,
    "rerun": 4,
    "look": 5,
    "stop the machine": 3,
    "delete the rule": 2,
    "disable the rule": 2,
    "change a limit": 4,
    "reap": 2,
    "reconcile": 2,
}
_OF_SCHEDULES = {
    "tick",
    "tick twice at once",
    "tick again",
    "redrive an old tick",
    "late tick",
    "missed tick",
    "delete the rule",
    "disable the rule",
}
_OF_THE_STAGE = {"reap", "reconcile"}
_WITH_A_SCHEDULE = {"move at a tick", "resume early"}
"""Actions on a job that needs a schedule of its own."""


@dataclass(frozen=True)
class Action:
    """An action ``at`` so many seconds, on a job, a schedule or a limit, each by its number."""

    at: float
    what: str
    job: int | None = None
    schedule: int | None = None
    limit: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A whole life.

    ``jobs``: how many have a schedule. ``limits``: how each limit begins. ``chains``: the number of each job
    that runs after others, with the number of each of these, and the ends that count.
    """

    seed: int
    seconds: float
    jobs: int
    schedules: int
    limits: tuple[Mapping[str, int], ...]
    chains: Mapping[int, Mapping[int, tuple[str, ...]]]
    actions: tuple[Action, ...]

    @property
    def digest(self) -> str:
        """Equal for equal plans."""
        actions = [asdict(action) for action in self.actions]
        text = json.dumps([actions, self.limits, self.chains], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def plan(seed: int, seconds: float, gap_seconds: float, jobs: int = _MOST_JOBS) -> Plan:
    """The plan of a seed: one action every ``gap_seconds`` on average."""
    random = Random(seed)
    schedules = max(2, jobs // _JOBS_A_SCHEDULE)
    limits = tuple(_limit(random) for _ in range(_LIMITS))
    chains = {number: _parents(random, number, jobs) for number in range(jobs, jobs + _CHAINED_JOBS)}
    actions = [
        Action(random.uniform(0, _SECONDS_OF_SETTING_UP), "put", number, more=_job(random, schedules))
        for number in range(jobs)
    ]
    actions += [
        Action(_SECONDS_OF_SETTING_UP, "put", number, more=_job(random, schedules)) for number in chains
    ]
    at = _SECONDS_OF_SETTING_UP
    while (at := at + random.expovariate(1 / gap_seconds)) < seconds:
        what = random.choices([*_WEIGHTS], [*_WEIGHTS.values()])[0]
        if what == "stop the machine" and at > seconds * _STOPS_UNTIL:
            what = "tick"
        actions.append(_action(random, at, what, jobs, schedules))
    in_order = tuple(sorted(actions, key=lambda action: action.at))
    return Plan(seed, seconds, jobs, schedules, limits, chains, in_order)


def _action(random: Random, at: float, what: str, jobs: int, schedules: int) -> Action:
    if what in _OF_THE_STAGE:
        return Action(at, what)
    if what in _OF_SCHEDULES:
        return Action(at, what, schedule=random.randrange(schedules), more=_more_of_tick(random, what))
    if what == "change a limit":
        return Action(at, what, limit=random.randrange(_LIMITS), more=_limit(random))
    if what == "run its parents":
        return Action(at, what, random.randrange(jobs, jobs + _CHAINED_JOBS))
    number = random.randrange(jobs if what in _WITH_A_SCHEDULE else jobs + _CHAINED_JOBS)
    return Action(at, what, number, more=_more(random, what, schedules))


def _limit(random: Random) -> dict[str, int]:
    """The definition of a limit."""
    kind = random.choice(["slots", "slots", "per_second", "both"])
    slots = {"slots": random.choice([1, 1, 1, 2, 2, 3])} if kind != "per_second" else {}
    return slots | ({"per_second": random.randint(1, 4)} if kind != "slots" else {})


def _parents(random: Random, number: int, jobs: int) -> dict[int, tuple[str, ...]]:
    """The jobs after which a job runs: one or two with a schedule, or a job that runs after others itself."""
    of_chains = [*range(jobs, number)]
    first = random.choice(of_chains) if of_chains and random.random() < 0.5 else random.randrange(jobs)
    numbers = (
        {first} if (number - jobs) % 2 == 0 else {first, random.choice(sorted({*range(jobs)} - {first}))}
    )
    return {each: random.choices([*_ENDS], [*_ENDS.values()])[0] for each in sorted(numbers)}


def _more_of_tick(random: Random, what: str) -> dict[str, Any]:
    match what:
        case "late tick" | "missed tick":
            return {"late_seconds": random.choice([3, 8, 40])}
        case "redrive an old tick":
            return {"which": random.random()}
        case _:
            return {}


def _more(random: Random, what: str, schedules: int) -> dict[str, Any]:
    planned: dict[str, Callable[[], dict[str, Any]]] = {
        "put": lambda: _job(random, schedules),
        "put twice at once": lambda: {"first": _job(random, schedules), "second": _job(random, schedules)},
        "move at a tick": lambda: {
            "job": _job(random, schedules) | {"enabled": True},
            # A PUT takes 0.3 to 1.5 seconds. None: the new schedule's tick comes after it.
            "old_tick_delay": random.uniform(0, 1.5),
            "new_tick_delay": random.choice([random.uniform(0, 1.5), None, None]),
        },
        "pause for a while": lambda: {"seconds": random.randint(3, 15)},
        "resume early": lambda: {"seconds": random.randint(8, 30), "is_missed": random.random() < 0.4},
        "delete between attempts": lambda: {
            "job": _failing_job(random, schedules),
            "put_again": random.random() < 0.5,
        },
        "pause between attempts": lambda: {"job": _failing_job(random, schedules)},
        "run": lambda: {"payload": _payload(random)} if random.random() < 0.5 else {},
    }
    return planned[what]() if what in planned else {}


def _job(random: Random, schedules: int) -> dict[str, Any]:
    """The body of a PUT, except that ``schedule`` and ``limit`` are numbers, and the target is missing.

    A job that runs after others is put without the fields of a schedule.
    """
    kind = random.choice(["http", "http", "sns", "sync"])
    job: dict[str, Any] = {
        "schedule": random.randrange(schedules),
        "invocation_type": "sns" if kind == "sns" else "http",
        "workflow_type": random.choice(WORKFLOW_TYPES),
        "async": kind != "sync",
        "enabled": random.random() < 0.93,
        **_overlap(random),
        "ttl_seconds": TTL,
        "payload": _payload(random),
        "catch_up": random.choice(["none", "one"]),
        "test_invocation": random.random() < 0.2,
    }
    if job["async"] and random.random() < 0.3:
        job["heartbeat_interval_seconds"] = random.choice([5, 8])
    if random.random() < 0.3:
        # Between little more than ttl_seconds, and enough for a second attempt.
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
    if random.random() < 0.4:
        job["limit"] = random.randrange(_LIMITS)
    return job


def _overlap(random: Random) -> dict[str, Any]:
    """What happens if the job is due while it runs, perhaps by the older name."""
    kind = random.choices([*_OVERLAPS], [*_OVERLAPS.values()])[0]
    if kind in ("allow", "skip") and random.random() < 0.5:
        return {"exclusive": kind == "skip"}
    return {"overlap": kind}


def _failing_job(random: Random, schedules: int) -> dict[str, Any]:
    """A job whose first attempt fails, and that waits for its second one long enough to be changed."""
    retry = {"max_attempts": 3, "interval_seconds": random.choice([3, 5]), "backoff_rate": 1, "on": ["fail"]}
    fails = {"answers": ["accept"], "work": "fail", "seconds": 0.0, "sync": ["422"]}
    job = _job(random, schedules) | {
        "enabled": True,
        "retry": retry,
        "payload": json.dumps({"conducts": [fails]}),
    }
    return {name: value for name, value in job.items() if name not in ("max_duration_seconds", "limit")}


def _payload(random: Random) -> str:
    return json.dumps({"conducts": conducts(random, _CONDUCTS_OF_A_JOB)})
