"""The kinds of runs that matter, each with a job that is run so."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.route_cases import Call, World

_JOB = "/services/{service_name}/jobs/{job_name}"
_ALWAYS = "2150-01-01T00:00:00Z"


@dataclass(frozen=True)
class RunCase:
    """One kind of run: the job's fields, what its service does, how its execution ends.

    ``transaction_items``: how many items its transactions have in all, which traces do not tell. ``prepare``
    is done once, when the job is there. ``is_rare``: no run as it should be, so no schedule has only such.
    """

    name: str
    does: Mapping[str, Any]
    status: str = "success"
    fields: Mapping[str, Any] = field(default_factory=dict)
    over_http: bool = False
    transaction_items: int = 0
    prepare: Callable[[World, str], None] = lambda world, job_name: None
    is_rare: bool = False

    @property
    def job_name(self) -> str:
        """Its job."""
        return self.name.replace(" ", "-").replace(",", "")

    def put(self, world: World, schedule: str) -> None:
        """Registers the job, alone on its schedule."""
        kind = "http" if self.over_http else "sns"
        more = {"payload": json.dumps({"ledger": 7, **self.does}), "test_invocation": False}
        job = world.job(kind, schedule=schedule, **more, **self.fields)
        world.must(f"PUT {_JOB}", Call(world.path(self.job_name), body=job), 200, 201)
        self.prepare(world, self.job_name)


def _pause(world: World, job_name: str) -> None:
    """Until a time, so that it stays on its rule, and each run is skipped."""
    body = {"reason": "the ledger is being moved", "until": _ALWAYS}
    world.must(f"POST {_JOB}/pause", Call(world.path(job_name), body=body), 200)


_SUCCEED = {"do": "succeed", "summary": "closed 20 accounts", "state": "invoice 4711"}
_FAIL = {"do": "fail", "error": "LedgerUnbalanced", "summary": "off by 7"}

CASES = (
    RunCase("SNS", _SUCCEED),
    RunCase("webhook", _SUCCEED, over_http=True),
    RunCase("exclusive", _SUCCEED, fields={"exclusive": True}, transaction_items=2),
    RunCase("2 heartbeats", {**_SUCCEED, "heartbeats": 2, "seconds": 0.9}),
    RunCase("sync", _SUCCEED, over_http=True, fields={"async": False, "ttl_seconds": 60}),
    RunCase("skipped", _SUCCEED, "skipped", prepare=_pause, is_rare=True),
    RunCase("failed", _FAIL, "fail", is_rare=True),
    RunCase(
        "failed, one retry",
        _FAIL,
        "fail",
        fields={"retry": {"max_attempts": 2, "interval_seconds": 1}},
        is_rare=True,
    ),
    RunCase("timeout", {"do": "silent"}, "timeout", fields={"ttl_seconds": 10}, is_rare=True),
)
