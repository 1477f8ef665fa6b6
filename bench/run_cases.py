"""The kinds of runs that are measured, each with a job of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bench.route_cases import Call, World
from jobmanager.jobs.timing import schedule_key

_JOB = "/services/{service_name}/jobs/{job_name}"
_FAR_FUTURE = "2150-01-01T00:00:00Z"

type WorkflowType = Literal["standard", "express"]


@dataclass(frozen=True)
class RunCase:
    """One kind of run: the job's fields, what its service does, how its execution ends.

    Attributes:
        does: The behaviour of the service, as the notification's payload states it.
        status: The status with which the execution ends.
        transaction_items: The number of items in all transactions of a run. Traces do not show it.
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
    transaction_items: int = 0
    prepare: Callable[[World, str], None] = lambda world, job_name: None
    is_rare: bool = False
    is_by_hand: bool = False
    is_slow: bool = False
    workflow_type: WorkflowType = "standard"

    @property
    def job_name(self) -> str:
        """The name of its job."""
        return f"{self.name} {self.workflow_type}".replace(" ", "-").replace(",", "")

    def key_of(self, schedule: str) -> str:
        """The key under which its ticks come."""
        return schedule_key({"schedule": schedule, **self.fields})

    def put(self, world: World, schedule: str) -> None:
        """Registers the job, alone on its schedule."""
        kind = "http" if self.over_http else "sns"
        more = {
            "payload": json.dumps({"ledger": 7, **self.does}),
            "test_invocation": False,
            "workflow_type": self.workflow_type,
        }
        job = world.job(kind, schedule=schedule, **more, **self.fields)
        world.expect(f"PUT {_JOB}", Call(world.path(self.job_name), body=job), 200, 201)
        self.prepare(world, self.job_name)


def _pause(world: World, job_name: str) -> None:
    """Pauses the job until a far time: it keeps its rule, and each of its runs is skipped."""
    body = {"reason": "the ledger is being moved", "until": _FAR_FUTURE}
    world.expect(f"POST {_JOB}/pause", Call(world.path(job_name), body=body), 200)


_SUCCEED = {"do": "succeed", "summary": "closed 20 accounts", "state": "invoice 4711"}
_FAIL = {"do": "fail", "error": "LedgerUnbalanced", "summary": "off by 7"}

_KINDS = (
    RunCase("SNS", _SUCCEED),
    RunCase("webhook", _SUCCEED, over_http=True),
    RunCase("in a time zone", _SUCCEED, over_http=True, fields={"time_zone": "Europe/Berlin"}),
    RunCase("exclusive", _SUCCEED, fields={"exclusive": True}, transaction_items=2),
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
