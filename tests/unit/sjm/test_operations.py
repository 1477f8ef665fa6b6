"""Each operation of the OpenAPI document has a method of the client, which sends what the document says."""

import inspect
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from sjm.client import Job, Listing, Manager
from tests.unit.sjm.stand_in import (
    DOCUMENT,
    StandIn,
    errors_of_request,
    example_answer,
    operation_of,
    signature_of_botocore,
)

EXECUTION = "97cc1b28-4a1f-5f0e-9c4b-1f6a3f1e2d3c-20261123T020000Z"
GUID = "97cc1b28-4a1f-5f0e-9c4b-1f6a3f1e2d3c"
TOKEN = f"{EXECUTION}.mJ1hLwG0b3q5vYkT8xN2cR7dE4fA6sZ9uH0iO-_pQrS"
JOB: Job = {
    "schedule": "cron(0 2 * * ? *)",
    "invocation_type": "http",
    "invocation_target": "https://billing.example/jobs/nightly",
    "async": False,
    "retry": {"max_attempts": 3, "on": ["timeout"]},
    "tags": {"team": "päyments"},
}
JOBS: dict[str, Any] = {
    "job_name": ["nightly", "monthly"],
    "job_guid": GUID,
    "owner": ["Doe, Jane", "ann & bob"],
    "tags": {"team": "payments", "a [b]": "100 % + ä~"},
    "schedule": "cron(0 2 * * ? *)",
    "limit": 20,
    "more": "eyJhIjoiYi9jIn0=",
}
EXECUTIONS: dict[str, Any] = {
    "status": ["fail", "timeout"],
    "reason": "lock_held",
    "since": datetime(2026, 11, 23, 3, tzinfo=timezone(timedelta(hours=1))),
    "until": date(2026, 11, 24),
    "by": "started_at",
    "limit": 20,
    "more": "eyJhIjoiYi9jIn0=",
}
# By operation: calls of its method. Together they use every parameter of the operation.
CALLS: dict[str, list[Callable[[Manager], Any]]] = {
    "put_job": [
        lambda m: m.put_job("billing", "nightly", JOB),
        lambda m: m.put_job("billing", "nightly", JOB, if_match=[3, 4]),
        lambda m: m.put_job("billing", "nightly", JOB, only_if_new=True),
        lambda m: m.put_job("billing", "nightly", JOB, managed_by="git.example/billing & co"),
    ],
    "get_job": [lambda m: m.get_job("billing", "nightly")],
    "delete_job": [
        lambda m: m.delete_job("billing", "nightly"),
        lambda m: m.delete_job("billing", "nightly", if_match=3),
        lambda m: m.delete_job("billing", "nightly", if_match="*"),
        lambda m: m.delete_job("billing", "nightly", managed_by="git.example/billing & co"),
    ],
    "pause_job": [
        lambda m: m.pause_job("billing", "nightly", "migration"),
        lambda m: m.pause_job("billing", "nightly", "migration", until=datetime(2099, 12, 1, tzinfo=UTC)),
        lambda m: m.pause_job("billing", "nightly", "migration", until="2099-12-01T06:00:00+01:00"),
    ],
    "resume_job": [lambda m: m.resume_job("billing", "nightly")],
    "test_job": [lambda m: m.test_job("billing", "nightly")],
    "list_jobs": [lambda m: m.list_jobs(), lambda m: m.list_jobs(service_name=["billing", "b"], **JOBS)],
    "list_jobs_of_service": [
        lambda m: m.list_jobs_of_service("billing"),
        lambda m: m.list_jobs_of_service("billing", **JOBS),
    ],
    "list_jobs_by_search": [
        lambda m: m.search_jobs({}),
        lambda m: m.search_jobs({"service_name": ["billing"], "owner": "Doe, Jane", "limit": 5, "more": "x"}),
    ],
    "start_execution": [
        lambda m: m.start_execution("billing", "nightly"),
        lambda m: m.start_execution("billing", "nightly", payload="", idempotency_key="deploy-4711"),
    ],
    "get_execution": [lambda m: m.get_execution("billing", "nightly", EXECUTION)],
    "get_chain": [lambda m: m.get_chain("billing", "nightly", EXECUTION)],
    "cancel_execution": [
        lambda m: m.cancel_execution("billing", "nightly", EXECUTION),
        lambda m: m.cancel_execution("billing", "nightly", EXECUTION, reason="wrong ledger"),
    ],
    "rerun_execution": [
        lambda m: m.rerun_execution("billing", "nightly", EXECUTION),
        lambda m: m.rerun_execution("billing", "nightly", EXECUTION, idempotency_key="again"),
    ],
    "backfill_job": [
        lambda m: m.backfill_job("billing", "nightly", since="2026-11-01T00:00:00Z"),
        lambda m: m.backfill_job(
            "billing",
            "nightly",
            since=datetime(2026, 11, 1, tzinfo=UTC),
            until="2026-11-23T01:00:00+01:00",
            only_missed=False,
            dry_run=True,
            idempotency_key="once-more",
        ),
    ],
    "rerun_executions": [
        lambda m: m.rerun_executions({"since": "2026-11-23"}),
        lambda m: m.rerun_executions(
            {"execution_ids": [EXECUTION], "service_name": "billing", "again": True}, idempotency_key="again"
        ),
    ],
    "rerun_executions_of_service": [
        lambda m: m.rerun_executions_of_service("billing", {"since": "2026-11-23", "status": ["fail"]}),
    ],
    "cancel_executions": [
        lambda m: m.cancel_executions({"job_guid": GUID, "dry_run": True}),
    ],
    "cancel_executions_of_service": [
        lambda m: m.cancel_executions_of_service("billing", {"reason": "wrong ledger", "more": "x"}),
    ],
    "list_executions": [
        lambda m: m.list_executions(),
        lambda m: m.list_executions(service_name="billing", job_name=["a", "b"], job_guid=GUID, **EXECUTIONS),
    ],
    "list_executions_of_service": [
        lambda m: m.list_executions_of_service("billing"),
        lambda m: m.list_executions_of_service("billing", job_name="nightly", **EXECUTIONS),
    ],
    "list_executions_of_job": [
        lambda m: m.list_executions_of_job("billing", "nightly"),
        lambda m: m.list_executions_of_job("billing", "nightly", **EXECUTIONS),
    ],
    "list_executions_by_search": [
        lambda m: m.search_executions({}),
        lambda m: m.search_executions({"job_guid": [GUID], "status": "fail", "since": "2026-11-23"}),
    ],
    "list_schedules": [
        lambda m: m.list_schedules(),
        lambda m: m.list_schedules(limit=2, more="eyJhIjoiYi9jIn0="),
    ],
    "preview_schedule": [
        lambda m: m.preview_schedule("rate(5 minutes)"),
        lambda m: m.preview_schedule("cron(0,30 2 ? * MON-FRI *)", count=3),
        lambda m: m.preview_schedule(
            "at(2099-12-24T18:00:00)",
            time_zone="America/Port-au-Prince",
            from_=datetime(2099, 12, 24, tzinfo=timezone(timedelta(hours=1))),
            start_at="2099-12-01T00:00:00+01:00",
            end_at=datetime(2099, 12, 31, tzinfo=UTC),
        ),
    ],
    "reconcile_schedules": [lambda m: m.reconcile_schedules()],
    "list_limits": [
        lambda m: m.list_limits("billing"),
        lambda m: m.list_limits("billing", limit=20, more="eyJhIjoiYi9jIn0="),
    ],
    "put_limit": [
        lambda m: m.put_limit("billing", "db-main", {"slots": 3, "per_second": 10, "description": "ä"}),
        lambda m: m.put_limit("billing", "db-main", {"slots": 3}, if_match=3),
        lambda m: m.put_limit("billing", "db-main", {"slots": 3}, only_if_new=True),
    ],
    "get_limit": [lambda m: m.get_limit("billing", "db-main")],
    "delete_limit": [
        lambda m: m.delete_limit("billing", "db-main"),
        lambda m: m.delete_limit("billing", "db-main", if_match="*"),
    ],
    "create_webhook_secret": [
        lambda m: m.create_webhook_secret("billing"),
        lambda m: m.create_webhook_secret("billing", overlap_seconds=0),
    ],
    "list_webhook_secrets": [lambda m: m.list_webhook_secrets("billing")],
    "delete_webhook_secret": [
        lambda m: m.delete_webhook_secret("billing", "9f86d081884c7d65"),
        lambda m: m.delete_webhook_secret("billing", "9f86d081884c7d65", force=True),
    ],
    "receive_callback": [
        lambda m: m.call_back(f"{m.url}/callback/{TOKEN}", {"status": "processing", "progress": 73}),
        lambda m: m.call_back(f"{m.url}/callback/{TOKEN}", {"status": "fail", "error": {"name": "E"}}),
    ],
    "get_openapi": [lambda m: m.get_openapi()],
}
METHODS = {
    "list_jobs_by_search": "search_jobs",
    "list_executions_by_search": "search_executions",
    "receive_callback": "call_back",
}
UNSIGNED = {"receive_callback", "get_openapi"}

each_operation = pytest.mark.parametrize("operation_id", CALLS)


def answered(server: StandIn, call: Callable[[Manager], Any]) -> Any:
    """What a call returns; of a list, its first page."""
    with server.manager() as manager:
        returned = call(manager)
        return next(returned.pages()) if isinstance(returned, Listing) else returned


def test_each_operation_of_the_document_has_a_method() -> None:
    operations = {operation.operation_id for operation in DOCUMENT.operations}
    methods = {
        name
        for name, value in inspect.getmembers(Manager, inspect.isfunction)
        if not name.startswith("_") and name != "close"
    }

    assert set(CALLS) == operations
    assert {METHODS.get(operation, operation) for operation in operations} == methods


@each_operation
def test_a_method_sends_what_the_document_describes_and_returns_the_answer(
    server: StandIn, operation_id: str
) -> None:
    for call in CALLS[operation_id]:
        assert answered(server, call) == example_answer(operation_id)

    for received in server.received:
        assert operation_of(received).operation_id == operation_id
        assert errors_of_request(received) == []


@each_operation
def test_the_calls_use_every_parameter(server: StandIn, operation_id: str) -> None:
    for call in CALLS[operation_id]:
        answered(server, call)

    operation = operation_of(server.received[0])
    sent = {("query", name.partition("[")[0]) for each in server.received for name, _ in each.query}
    sent |= {("header", name) for each in server.received for name in each.headers}
    described = {
        (each["in"], each["name"].lower() if each["in"] == "header" else each["name"])
        for each in DOCUMENT.parameters(operation)
        if each["in"] != "path"
    }
    assert described - sent == set()


@each_operation
def test_a_request_has_the_signature_that_botocore_makes_of_it(server: StandIn, operation_id: str) -> None:
    for call in CALLS[operation_id]:
        answered(server, call)

    for received in server.received:
        if operation_id in UNSIGNED:
            assert {"authorization", "x-amz-security-token"} & received.headers.keys() == set()
        else:
            host = received.headers["host"]
            assert received.headers["authorization"] == signature_of_botocore(received, host)
            assert received.headers["x-amz-security-token"] == "a/session+token="
            assert "x-amz-security-token" in received.headers["authorization"]


def test_another_path_or_body_has_another_signature(server: StandIn) -> None:
    """The check above would find a request that was changed after it was signed."""
    answered(server, CALLS["put_job"][0])
    (received,) = server.received
    tampered: list[dict[str, Any]] = [
        {"target": received.target + "?a=b"},
        {"target": received.target.replace("nightly", "Nightly")},
        {"content": received.content + b" "},
    ]
    for change in tampered:
        changed = type(received)(**{**vars(received), **change})
        assert signature_of_botocore(changed, received.headers["host"]) != received.headers["authorization"]


def test_filters_arrive_as_they_were_given(server: StandIn) -> None:
    answered(server, CALLS["list_jobs"][1])
    answered(server, CALLS["list_executions_of_job"][1])
    jobs, executions = server.received

    assert sorted(jobs.query) == [
        ("job_guid", GUID),
        ("job_name", "nightly,monthly"),
        ("limit", "20"),
        ("more", "eyJhIjoiYi9jIn0="),
        ("owner", "Doe, Jane"),
        ("owner", "ann & bob"),
        ("schedule", "cron(0 2 * * ? *)"),
        ("service_name", "billing,b"),
        ("tags[a [b]]", "100 % + ä~"),
        ("tags[team]", "payments"),
    ]
    assert dict(executions.query) == {
        "status": "fail,timeout",
        "reason": "lock_held",
        "since": "2026-11-23T03:00:00+01:00",
        "until": "2026-11-24",
        "by": "started_at",
        "limit": "20",
        "more": "eyJhIjoiYi9jIn0=",
    }


def test_preconditions_name_versions(server: StandIn) -> None:
    for call in [*CALLS["put_job"], *CALLS["delete_job"]]:
        answered(server, call)

    conditions = [
        {name: value for name, value in each.headers.items() if name.startswith("if-")}
        for each in server.received
    ]
    assert conditions == [
        {},
        {"if-match": '"3", "4"'},
        {"if-none-match": "*"},
        {},
        {},
        {"if-match": '"3"'},
        {"if-match": "*"},
        {},
    ]


def test_each_start_without_a_key_gets_one_of_its_own(server: StandIn) -> None:
    for call in CALLS["start_execution"] * 2:
        answered(server, call)

    first, given, second, again = (each.headers["idempotency-key"] for each in server.received)
    assert given == again == "deploy-4711"
    assert first != second
    assert [each.body for each in server.received] == [None, {"payload": ""}] * 2


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_lead_to_another_path_is_refused(server: StandIn, name: str) -> None:
    """DELETE /services/billing/jobs/../webhook-secrets/… would be another operation."""
    with server.manager() as manager, pytest.raises(ValueError, match="is no name"):
        manager.delete_job("billing", name)
    assert server.received == []


def test_other_characters_of_a_name_are_encoded(server: StandIn) -> None:
    with server.manager() as manager:
        manager.delete_job("bill ing", "a~b")
    assert server.received[0].target == "/apis/a1/services/bill%20ing/jobs/a~b"
    assert server.received[0].headers["authorization"] == signature_of_botocore(
        server.received[0], server.received[0].headers["host"]
    )


WRONG: list[tuple[Callable[[Manager], Any], str]] = [
    (lambda m: m.pause_job("a", "b", "c", until=datetime(2099, 1, 1)), "no time zone"),
    (lambda m: m.list_executions(since=datetime(2026, 1, 1)), "no time zone"),
    (lambda m: m.delete_job("a", "b", if_match="3"), "if_match"),  # type: ignore[arg-type]
    (lambda m: m.delete_job("a", "b", if_match=[]), "if_match"),
    (lambda m: m.start_execution("a", "b", idempotency_key="a b"), "idempotency_key"),
    (lambda m: m.rerun_execution("a", "b", "c", idempotency_key="a\r\nx: y"), "idempotency_key"),
    (lambda m: m.call_back("/callback/x", {"status": "success"}), "callback_url"),
    (lambda m: m.put_job("a", "b", {**JOB, "ttl_seconds": float("nan")}), "JSON"),  # type: ignore[typeddict-item]
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_an_argument_that_cannot_be_sent_is_refused(
    server: StandIn, call: Callable[[Manager], Any], message: str
) -> None:
    with server.manager() as manager, pytest.raises(ValueError, match=message):
        call(manager)
    assert server.received == []
