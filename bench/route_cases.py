"""Realistic calls of all routes of the API, in the order of a job's life: later cases need earlier ones."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import boto3

from local.api_client import ApiResponse, ManagerApi
from local.observed_service import ObservedService
from local.sample_service import Notification

API_TF = Path(__file__).resolve().parents[1] / "terraform" / "api.tf"

# With these other jobs a list has more than one page, and no measured job is alone on its schedule.
OTHER_JOBS = 60
SCHEDULES = tuple(f"cron(0 {hour} 1 1 ? 2150)" for hour in range(10))

_AT_ONCE = 2
_RETRIES = 4
_SECONDS_TO_SETTLE = 90.0
_PAYLOAD = json.dumps({"ledger": 7, "accounts": [f"account-{number:04d}" for number in range(20)]})

_JOB = "/services/{service_name}/jobs/{job_name}"
_EXECUTION = f"{_JOB}/executions/{{execution_id}}"
_LIMITS = "/services/{service_name}/limits"
_LIMIT = f"{_LIMITS}/{{limit_name}}"
_SECRETS = "/services/{service_name}/webhook-secrets"


def api_routes(terraform: str | None = None) -> dict[str, str]:
    """The routes of terraform/api.tf, each with its function."""
    text = API_TF.read_text() if terraform is None else terraform
    return dict(
        re.findall(r'^ +"([A-Z]+ /[^"]*)" += \{ function = "(\w+)", authorization', text, re.MULTILINE)
    )


@dataclass(frozen=True)
class Call:
    """The variable part of a request to a route: the path's parameters by name, a query, a body."""

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str | int] = field(default_factory=dict)
    body: object = None


@dataclass
class World:
    """The benchmark's own service on the stage. Its webhook accepts every notification and does nothing."""

    api: ManagerApi
    outputs: Mapping[str, Any]
    webhook: ObservedService
    service_name: str
    started: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    secret_ids: list[str] = field(default_factory=list)

    def job(self, invocation_type: str = "http", **fields: Any) -> dict[str, Any]:
        """The body of a PUT."""
        target = (
            {"invocation_target": self.webhook.webhook_url("nightly")} if invocation_type == "http" else {}
        )
        return {
            "schedule": SCHEDULES[0],
            "invocation_type": invocation_type,
            **target,
            "payload": _PAYLOAD,
            "ttl_seconds": 600,
            "description": "Closes the books of the day",
            "owner": "team-billing",
            "tags": {"team": "billing", "tier": "1"},
            **fields,
        }

    def path(
        self, job_name: str | None = None, execution_id: str | None = None, **more: str
    ) -> dict[str, str]:
        """The parameters of a path within this service."""
        parts = {"service_name": self.service_name, "job_name": job_name, "execution_id": execution_id}
        return {name: part for name, part in (parts | more).items() if part is not None}

    def request(self, route: str, call: Call) -> ApiResponse:
        """Calls a route, and signs the request unless the route is open."""
        method, _, template = route.partition(" ")
        path = re.sub(r"\{(\w+)\}", lambda match: quote(call.path[match[1]], safe=""), template)
        is_open = template in ("/callback/{callback_token}", "/openapi.json")
        send = self.api.unsigned_request if is_open else self.api.request
        return send(method, path, call.body, query=call.query)

    def expect(self, route: str, call: Call, *expected: int) -> Any:
        """Calls a route without measuring it, and returns the body. Raises RuntimeError for another status.

        Retries server errors a few times.
        """
        answer = self.request(route, call)
        for _ in range(_RETRIES):
            if answer.status < 500:
                break
            time.sleep(1)
            answer = self.request(route, call)
        if answer.status not in expected:
            raise unexpected_answer(route, answer, *expected)
        return answer.body

    def notification(self, execution_id: str) -> Notification:
        """Waits for an execution's notification. From then on, the execution waits for its callback."""

        def found() -> Notification | None:
            for received in reversed(self.webhook.received):
                if received.notification.get("execution_id") == execution_id:
                    return received.notification
            return None

        self.webhook.wait_for(lambda _: found() is not None, 30, f"the notification of {execution_id}")
        notification = found()
        assert notification is not None
        return notification

    def callback_token(self, execution_id: str) -> str:
        """The callback token of an execution: the last part of its callback_url."""
        url = self.notification(execution_id)["callback_url"]
        return unquote(urlsplit(url).path.rpartition("/")[2])

    def set_up(self) -> None:
        """Registers the measured jobs and the other jobs, and lets the other jobs run once."""
        for job_name in ("nightly", "moving"):
            self.expect(f"PUT {_JOB}", Call(self.path(job_name), body=self.job()), 200, 201)
        # Nobody calls back for these jobs, so the short ttl_seconds ends their executions.
        others = {f"other-{n:03d}": SCHEDULES[n % len(SCHEDULES)] for n in range(OTHER_JOBS)}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(
                pool.map(
                    lambda item: self.expect(
                        f"PUT {_JOB}",
                        Call(self.path(item[0]), body=self.job("sns", schedule=item[1], ttl_seconds=10)),
                        200,
                        201,
                    ),
                    others.items(),
                )
            )
        for schedule in SCHEDULES[1:]:  # "nightly", on the first schedule, is run by hand
            boto3.client("lambda").invoke(
                FunctionName=self.outputs["function_names"]["start_due_executions"],
                Payload=json.dumps({"schedule": schedule, "scheduled_time": _now()}),
            )
        deadline = time.monotonic() + _SECONDS_TO_SETTLE
        while self._running():
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"executions of {self.service_name} still run after {_SECONDS_TO_SETTLE:g} s"
                )
            time.sleep(1)

    def clear(self) -> None:
        """Cancels the running executions and deletes the jobs, so that the stage is as it was."""
        for record in self._running():
            path = self.path(record["job_name"], record["execution_id"])
            self.expect(f"POST {_EXECUTION}/cancel", Call(path), 200, 409)
        while left := self._listed("/services/{service_name}/jobs"):
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(self._delete, [job["job_name"] for job in left]))
        for limit in self._listed(_LIMITS):
            self.expect(f"DELETE {_LIMIT}", Call(self.path(limit_name=limit["limit_name"])), 204)

    def _delete(self, job_name: str) -> None:
        self.expect(f"DELETE {_JOB}", Call(self.path(job_name)), 204, 503)

    def _running(self) -> list[dict[str, Any]]:
        return self._listed("/services/{service_name}/executions", status="running")

    def _listed(self, template: str, **query: str | int) -> list[dict[str, Any]]:
        call = Call({"service_name": self.service_name}, {**query, "limit": 100})
        results: list[dict[str, Any]] = self.expect(f"GET {template}", call, 200)["results"]
        return results


@dataclass(frozen=True)
class Case:
    """One way to call a route.

    Attributes:
        prepare: Makes the call of a round and everything that the call needs. It is not measured.
        transaction_items: The number of items in the call's transaction. Traces do not show it.
        has_aftermath: Whether functions continue after the answer. Then each call waits for a quiet stage.
        remember: Receives the answer's body, and may note what later cases need.
    """

    route: str
    variant: str
    prepare: Callable[[World, int], Call]
    status: int = 200
    transaction_items: int = 0
    has_aftermath: bool = False
    remember: Callable[[World, Any], None] = lambda world, body: None


def _put_new(kind: str) -> Callable[[World, int], Call]:
    return lambda world, n: Call(world.path(f"new-{kind}-{n:03d}"), body=world.job(kind))


def _put_moved(world: World, n: int) -> Call:
    return Call(world.path("moving"), body=world.job(schedule=SCHEDULES[1 + n % 2]))


def _nightly(world: World, _: int) -> Call:
    return Call(world.path("nightly"))


def _whole_service(world: World, _: int) -> Call:
    return Call(world.path())


def _pause(world: World, _: int) -> Call:
    world.expect(f"POST {_JOB}/resume", Call(world.path("moving")), 200)
    return Call(world.path("moving"), body={"reason": "the ledger is being moved"})


def _resume(world: World, n: int) -> Call:
    world.expect(f"POST {_JOB}/pause", _pause(world, n), 200)
    return Call(world.path("moving"))


def _remember_started(world: World, body: Any) -> None:
    world.notification(body["execution_id"])
    world.started.append(body["execution_id"])


def _cancel(world: World, _: int) -> Call:
    execution_id = world.started.pop(0)
    world.ended.append(execution_id)
    return Call(world.path("nightly", execution_id), body={"reason": "wrong ledger"})


def _rerun(world: World, n: int) -> Call:
    return Call(world.path("nightly", world.ended[n]))


def _rerun_many(world: World, _: int) -> Call:
    return Call(world.path(), body={"since": _now(-1), "status": "cancelled", "dry_run": True})


def _rerun_many_of_stage(world: World, n: int) -> Call:
    return Call(body={"service_name": world.service_name, "since": _now(-1), "dry_run": True})


def _cancel_many(world: World, _: int) -> Call:
    return Call(world.path(), body={"dry_run": True})


def _cancel_many_of_stage(world: World, _: int) -> Call:
    return Call(body={"service_name": world.service_name, "dry_run": True})


def _backfill(world: World, _: int) -> Call:
    return Call(world.path("nightly"), body={"since": _now(-1), "dry_run": True})


def _heartbeat(world: World, n: int) -> Call:
    token = world.callback_token(world.started[-1])
    return Call({"callback_token": token}, body={"status": "processing", "progress": n})


def _success(world: World, _: int) -> Call:
    execution_id = world.started.pop(0)
    world.ended.append(execution_id)
    body = {"status": "success", "summary": "closed 20 accounts", "state": "invoice 4711"}
    return Call({"callback_token": world.callback_token(execution_id)}, body=body)


def _more_jobs(world: World, _: int) -> Call:
    more = world.expect("GET /jobs", Call(), 200)["paging"]["more"]
    return Call(query={"more": more})


def _limit(world: World, n: int) -> Call:
    return Call(world.path(limit_name=f"limit-{n:03d}"))


def _put_limit(world: World, n: int) -> Call:
    return Call(_limit(world, n).path, body={"slots": 3, "description": "connections to the database"})


def _change_limit(world: World, n: int) -> Call:
    return Call(_limit(world, n).path, body={"slots": 5})


def _create_secret(world: World, n: int) -> Call:
    # A service may have only a few secrets at once, so delete the one of an earlier round first.
    while len(world.secret_ids) > 1:
        path = world.path(secret_id=world.secret_ids.pop(0))
        world.expect(f"DELETE {_SECRETS}/{{secret_id}}", Call(path, query={"force": "true"}), 204)
    return Call(world.path(), body={"overlap_seconds": 3600})


def _delete_secret(world: World, n: int) -> Call:
    made = world.expect(f"POST {_SECRETS}", Call(world.path(), body={}), 201)
    return Call(world.path(secret_id=made["secret_id"]), query={"force": "true"})


def _remember_secret(world: World, body: Any) -> None:
    world.secret_ids.append(body["secret_id"])


CASES = (
    Case(f"PUT {_JOB}", "new, SNS", _put_new("sns"), 201, transaction_items=2),
    Case(f"PUT {_JOB}", "new, webhook tested", _put_new("http"), 201, transaction_items=2),
    Case(f"PUT {_JOB}", "unchanged", lambda world, _: Call(world.path("nightly"), body=world.job())),
    Case(f"PUT {_JOB}", "to another schedule", _put_moved, transaction_items=3),
    Case(f"GET {_JOB}", "", _nightly),
    Case(f"POST {_JOB}/pause", "", _pause, transaction_items=2),
    Case(f"POST {_JOB}/resume", "", _resume, transaction_items=2),
    Case(f"POST {_JOB}/test", "webhook", _nightly),
    Case(f"POST {_JOB}/executions", "", _nightly, 201, has_aftermath=True, remember=_remember_started),
    Case(f"POST {_EXECUTION}/cancel", "", _cancel, has_aftermath=True),
    Case(f"POST {_EXECUTION}/rerun", "", _rerun, 201, has_aftermath=True, remember=_remember_started),
    Case("POST /services/{service_name}/executions/rerun", "dry run", _rerun_many),
    Case("POST /services/{service_name}/executions/cancel", "dry run", _cancel_many),
    Case("POST /executions/rerun", "dry run", _rerun_many_of_stage),
    Case("POST /executions/cancel", "dry run", _cancel_many_of_stage),
    Case(f"POST {_JOB}/backfill", "dry run", _backfill),
    Case("POST /callback/{callback_token}", "heartbeat", _heartbeat),
    Case("POST /callback/{callback_token}", "success", _success, has_aftermath=True),
    Case(f"GET {_EXECUTION}", "", lambda world, n: Call(world.path("nightly", world.ended[n]))),
    Case(f"GET {_EXECUTION}/chain", "", lambda world, n: Call(world.path("nightly", world.ended[n]))),
    Case(f"GET {_JOB}/executions", "", _nightly),
    Case("GET /services/{service_name}/executions", "", _whole_service),
    Case("GET /executions", "", lambda world, _: Call()),
    Case("POST /executions", "", lambda world, _: Call(body={"service_name": [world.service_name]})),
    Case("GET /services/{service_name}/jobs", "", _whole_service),
    Case("GET /jobs", "first page", lambda world, _: Call()),
    Case("GET /jobs", "second page", _more_jobs),
    Case("POST /jobs", "", lambda world, _: Call(body={"service_name": [world.service_name]})),
    Case("GET /schedules", f"{len(SCHEDULES)} schedules", lambda world, _: Call()),
    Case("POST /schedules/reconcile", "", lambda world, _: Call()),
    Case("GET /schedules/preview", "", lambda world, _: Call(query={"schedule": "cron(0 2 ? * MON-FRI *)"})),
    Case(f"PUT {_LIMIT}", "new", _put_limit, 201),
    Case(f"PUT {_LIMIT}", "changed", _change_limit),
    Case(f"GET {_LIMIT}", "", _limit),
    Case(f"GET {_LIMITS}", "", _whole_service),
    Case(f"DELETE {_LIMIT}", "", _limit, 204),
    Case(f"POST {_SECRETS}", "", _create_secret, 201, remember=_remember_secret),
    Case(f"GET {_SECRETS}", "", _whole_service),
    Case(f"DELETE {_SECRETS}/{{secret_id}}", "", _delete_secret, 204),
    Case(
        f"DELETE {_JOB}", "", lambda world, n: Call(world.path(f"new-sns-{n:03d}")), 204, transaction_items=2
    ),
    Case("GET /openapi.json", "", lambda world, _: Call()),
)


def _now(days: int = 0) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def unexpected_answer(route: str, answer: ApiResponse, *expected: int) -> RuntimeError:
    """The error that names the status of an answer and the expected ones."""
    statuses = " or ".join(map(str, expected))
    return RuntimeError(f"{route} was answered with {answer.status}, expected {statuses}: {answer.body}")


def new_world(outputs: Mapping[str, Any]) -> World:
    """Makes the benchmark's service. The caller starts its webhook."""
    service_name = f"bench-{secrets.token_hex(4)}"
    webhook = ObservedService(service_name, work=lambda *_: None)
    return World(ManagerApi.from_environment(outputs["api_url"]), outputs, webhook, service_name)
