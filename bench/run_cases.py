"""The kinds of runs that are measured, each with a job of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bench.route_cases import Call, World
from jobmanager.jobs.timing import schedule_key

_JOB = "/services/{service_name}/jobs/{job_name}"
_LIMIT = "/services/{service_name}/limits/{limit_name}"
_FAR_FUTURE = "2150-01-01T00:00:00Z"

type WorkflowType = Literal["standard", "express"]
type Course = Literal["alone", "waits", "is looked at", "follows", "is warned"]
"""What happens to a run.

- waits: another run of its job holds what it needs, and ends when this one waits
- is looked at: as waits, and the sweep comes once meanwhile
- follows: it is the child of another run
- is warned: it ends after its warning
"""


@dataclass(frozen=True)
class RunCase:
    """One kind of run: the job's fields, what its service does, how its execution ends.

    Attributes:
        does: The behaviour of the service, as the notification's payload states it.
        status: The status with which the execution ends.
        transactions: The number of items in each transaction. Traces do not show it.
        course: What happens to the run.
        beside: The kind of the other run, if there is one. Its cost is subtracted.
        limit: The limit that the job names, if any, without its name.
        prepare: Called once, after the job is registered.
        is_rare: Whether this kind of run is an exception. Monthly prices leave it out.
        is_by_hand: Whether a request starts it, and not a tick.
        is_slow: Whether it takes more than a minute, or nearly so. Then it is measured once.
    """

    name: str
    does: Mapping[str, Any]
    status: str = "success"
    fields: Mapping[str, Any] = field(default_factory=dict)
    over_http: bool = False
    transactions: tuple[int, ...] = ()
    course: Course = "alone"
    beside: str = ""
    limit: Mapping[str, int] | None = None
    prepare: Callable[[World, str], None] = lambda world, job_name: None
    is_rare: bool = False
    is_by_hand: bool = False
    is_slow: bool = False
    workflow_type: WorkflowType = "standard"

    @property
    def job_name(self) -> str:
        """The name of its job."""
        return f"{self.name} {self.workflow_type}".replace(" ", "-").replace(",", "")

    @property
    def ticked_job(self) -> str:
        """The name of the job that a tick starts: its own, or its parent."""
        return f"{self.job_name}-parent" if self.course == "follows" else self.job_name

    @property
    def has_to_wait(self) -> bool:
        """Whether another run of its job holds what it needs."""
        return self.course in ("waits", "is looked at")

    @property
    def is_held(self) -> bool:
        """Whether its service works until the benchmark lets it end."""
        return self.has_to_wait or self.course == "is warned"

    @property
    def is_swept(self) -> bool:
        """Whether the sweep may have to look at it."""
        return self.workflow_type == "express" or self.course == "is warned"

    def key_of(self, schedule: str) -> str:
        """The key under which its ticks come."""
        return schedule_key({"schedule": schedule, **self.fields})

    def put(self, world: World, schedule: str) -> None:
        """Registers the job, alone on its schedule, and before it its limit or its parent."""
        kind = "http" if self.over_http else "sns"
        more = {
            "payload": json.dumps({"ledger": 7, **self.does}),
            "test_invocation": False,
            "workflow_type": self.workflow_type,
            **self.fields,
        }
        if self.limit is not None:
            more["limit"] = self.job_name
            call = Call(world.path(limit_name=self.job_name), body=self.limit)
            world.expect(f"PUT {_LIMIT}", call, 200, 201)
        job = world.job(kind, schedule=schedule, **more)
        if self.ticked_job != self.job_name:
            world.expect(f"PUT {_JOB}", Call(world.path(self.ticked_job), body=job), 200, 201)
            del job["schedule"]
            job["after"] = [{"job": self.ticked_job}]
        world.expect(f"PUT {_JOB}", Call(world.path(self.job_name), body=job), 200, 201)
        self.prepare(world, self.job_name)


def _pause(world: World, job_name: str) -> None:
    """Pauses the job until a far time: it keeps its rule, and each of its runs is skipped."""
    body = {"reason": "the ledger is being moved", "until": _FAR_FUTURE}
    world.expect(f"POST {_JOB}/pause", Call(world.path(job_name), body=body), 200)


_SUCCEED = {"do": "succeed", "summary": "closed 20 accounts", "state": "invoice 4711"}
_FAIL = {"do": "fail", "error": "LedgerUnbalanced", "summary": "off by 7"}

FREE_SLOT = "limit, a slot is free"
_WAITS_FOR_LOCK = RunCase(
    "",
    _SUCCEED,
    fields={"overlap": "queue_all"},
    transactions=(2, 3, 3),
    course="waits",
    beside="exclusive",
    is_rare=True,
)
_KINDS = (
    RunCase("SNS", _SUCCEED),
    RunCase("webhook", _SUCCEED, over_http=True),
    RunCase("in a time zone", _SUCCEED, over_http=True, fields={"time_zone": "Europe/Berlin"}),
    RunCase("exclusive", _SUCCEED, fields={"exclusive": True}, transactions=(2,)),
    RunCase("2 heartbeats", {**_SUCCEED, "heartbeats": 2, "seconds": 0.9}),
    RunCase("sync", _SUCCEED, over_http=True, fields={"async": False, "ttl_seconds": 60}),
    RunCase("run now", _SUCCEED, over_http=True, is_by_hand=True, is_rare=True),
    RunCase("skipped", _SUCCEED, "skipped", prepare=_pause, is_rare=True),
    RunCase("failed", _FAIL, "fail", is_rare=True),
    RunCase(
        "failed, one retry",
        _FAIL,
        "fail",
        fields={"retry": {"max_attempts": 2, "interval_seconds": 1}},
        is_rare=True,
    ),
    RunCase("after another job", _SUCCEED, course="follows", beside="SNS", is_rare=True),
    RunCase(FREE_SLOT, _SUCCEED, limit={"slots": 1}, transactions=(2,)),
    RunCase("limit per second", _SUCCEED, limit={"per_second": 10}),
    replace(_WAITS_FOR_LOCK, name="waits for the lock"),
    replace(_WAITS_FOR_LOCK, name="waits for the lock, one look", course="is looked at"),
    RunCase(
        "waits for a slot",
        _SUCCEED,
        limit={"slots": 1},
        transactions=(2, 3, 3),
        course="waits",
        beside=FREE_SLOT,
        is_rare=True,
    ),
    RunCase("warn_after_seconds, in time", _SUCCEED, fields={"warn_after_seconds": 500}),
    RunCase(
        "warn_after_seconds, late",
        _SUCCEED,
        fields={"warn_after_seconds": 10},
        course="is warned",
        is_rare=True,
        is_slow=True,
    ),
    RunCase("timeout", {"do": "silent"}, "timeout", fields={"ttl_seconds": 10}, is_rare=True, is_slow=True),
)
# The sweep looks once at an Express execution that is still open after a minute.
_LONG = RunCase(
    "longer than a minute", {**_SUCCEED, "seconds": 62}, over_http=True, is_slow=True, workflow_type="express"
)

CASES = (
    *(replace(kind, workflow_type=each) for kind in _KINDS for each in ("standard", "express")),
    _LONG,
)
