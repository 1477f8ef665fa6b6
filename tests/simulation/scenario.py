"""What runs need of which the plan is written by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from jobmanager.core.names import execution_id, job_guid
from tests.simulation.calls import DIES_AFTER, DIES_BEFORE
from tests.simulation.choices import Choices
from tests.simulation.plan import SERVICE, Action
from tests.simulation.run import Outcome, Schedule, by_schedule
from tests.simulation.seams import Seams
from tests.simulation.telling import told
from tests.simulation.timings import START_MS

JOB = "job-0"
NAME = execution_id(job_guid(SERVICE, JOB), START_MS + 60_000)
BODY = {
    "schedule": "cron(* * * * ? *)",
    "test_invocation": False,
    "ttl_seconds": 60,
    "max_duration_seconds": 300,
    "invocation_type": "http",
    "invocation_target": "https://billing.example/jobs",
}
TYPES = ("standard", "express")
SUCCEEDS_LATE = "succeeds too late"
DEATHS = (DIES_BEFORE, DIES_AFTER)
_IDLE = {"enabled": False}


def put(label: str, at_ms: int, workflow_type: str, **fields: Any) -> Action:
    """Makes or changes the job, which is not exclusive unless the fields say so."""
    exclusive = {} if "overlap" in fields else {"exclusive": False}
    return Action(label, at_ms, "put", JOB, {**BODY, **exclusive, "workflow_type": workflow_type, **fields})


def idle(workflow_type: str, **fields: Any) -> Action:
    """Makes a job that no tick starts."""
    return put("make", 1000, workflow_type, **_IDLE, **fields)


def limit(**fields: int) -> Action:
    """Makes the limit, before the jobs."""
    return Action("make the limit", 0, "change the limit", body=dict(fields))


def runs(number: int, at_ms: int, every_ms: int = 20, name: str = "run", job: str = JOB) -> list[Action]:
    """Runs by hand, one after the other."""
    return [Action(f"{name} {each}", at_ms + every_ms * each, "run now", job) for each in range(number)]


def outcome_of(
    seams: Seams, *actions: Action, odd: Mapping[str, str] | None = None, seed: int = 1
) -> Outcome:
    """Runs the actions, and no tick after 12:01; ``odd``: what goes wrong, by the labels of choices."""
    last = Action("the end", 100_000, "pause", JOB)
    return by_schedule(Schedule(seed, (*actions, last), odd or {}), seams.handlers, is_told=True)


def ran(seams: Seams, *actions: Action, odd: Mapping[str, str] | None = None, seed: int = 1) -> Outcome:
    """As :func:`outcome_of`; nothing may be broken."""
    outcome = outcome_of(seams, *actions, odd=odd, seed=seed)
    assert outcome.broken == [], "\n".join(told(outcome))
    return outcome


def calls_of_the_service(outcome: Outcome) -> int:
    """How often the service was notified."""
    return len(_notified(outcome))


def names_notified(outcome: Outcome) -> list[str]:
    """The executions of which the service was notified, in that order."""
    return [line.split()[-1] for line in _notified(outcome)]


def seconds_notified(outcome: Outcome) -> list[float]:
    """When the service was notified each time, in seconds of its day."""
    return [_seconds_of(line) for line in _notified(outcome)]


def _notified(outcome: Outcome) -> list[str]:
    return [line for line in outcome.story if "service: is notified" in line]


def _seconds_of(line: str) -> float:
    hours, minutes, seconds = line.split(" ", 1)[0].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def choices_made(run: Callable[[], object], option: str, part: str = "") -> list[str]:
    """The labels of the choices of a run which may be ``option``, and have this part."""
    found: dict[str, None] = {}
    deviates = Choices.deviates

    def noted(self: Choices, label: str, options: Any, likelihood: float) -> str:
        if option in options and part in label:
            found[label] = None
        return deviates(self, label, options, likelihood)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Choices, "deviates", noted)
        run()
    return list(found)
