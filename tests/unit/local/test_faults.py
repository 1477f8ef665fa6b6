"""Plans of faults: which invocations they apply to, and which calls fail."""

import json
from pathlib import Path
from typing import Any

import pytest
from ministack.services import stepfunctions

from jobmanager.core.clock import ms_of_iso
from jobmanager.core.names import job_guid
from jobmanager.targets import target, webhook
from local.aws_behaviour.step_functions import RunningExecution, running_execution
from local.faults import emulator, plans, worker
from local.faults.plans import Call, Fault
from tests.unit.functions.target import Wire

GUID = job_guid("billing", "nightly")
EXECUTION = f"{GUID}-20261125T000000Z"
NAMES = {"service_name": "billing", "job_name": "nightly"}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(plans.SETTING, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({**NAMES, "schedule": "rate(1 hour)"}, [GUID, "rate(1 hour)"]),
        ({"execution": NAMES, "task_token": "t"}, [GUID]),
        ({"pathParameters": NAMES, "body": "{}"}, [GUID]),
        ({"pathParameters": {"callback_token": f"{EXECUTION}.2.secret"}}, [EXECUTION, GUID]),
        ({"execution": {**NAMES, "execution_id": EXECUTION}}, [EXECUTION, GUID]),
        ({"execution_id": EXECUTION}, [EXECUTION, GUID]),
        ({"Records": [{"body": json.dumps({"waiting_execution": EXECUTION})}]}, [EXECUTION, GUID]),
        ({"Records": [{"Sns": {}}]}, []),
        ({"service_name": "billing", "limit_name": "db"}, ["limit billing/db"]),
        ({"schedules": ["rate(1 day)", "rate(2 days)"]}, ["rate(1 day)", "rate(2 days)"]),
        ({"faults": "marker", "source": "aws.events"}, ["marker"]),
        ({"source": "aws.events"}, []),
        (["no object"], []),
    ],
)
def test_an_event_names_its_subjects(event: Any, expected: list[str]) -> None:
    assert list(worker.subjects(event)) == expected


@pytest.mark.parametrize("kind", worker.KINDS)
def test_a_fault_hits_its_call_once_or_always_and_all_calls_are_recorded(directory: Path, kind: str) -> None:
    fault = Fault(Call("finish", "dynamodb.UpdateItem#2"), kind)
    plans.plan([GUID], [fault])
    assert worker.planned(directory, {"schedule": "rate(1 hour)"}) is None

    def invoked() -> list[str | None]:
        found = worker.planned(directory, NAMES)
        assert found is not None
        invocation = worker.Invocation(directory, "finish", *found)
        return [
            invocation.happens(f"dynamodb.{name}", "{}") for name in ("GetItem", "UpdateItem", "UpdateItem")
        ]

    assert not fault.happened()
    assert invoked() == [None, None, kind]
    assert fault.happened()
    assert invoked() == [None, None, kind if kind == worker.FAIL else None]
    seen = ["dynamodb.GetItem#1", "dynamodb.UpdateItem#1", "dynamodb.UpdateItem#2"]
    assert plans.calls_seen([GUID]) == [Call("finish", call) for call in seen]
    plans.forget([GUID])
    assert worker.planned(directory, NAMES) is None


@pytest.mark.parametrize(
    ("event", "step"),
    [
        ({"execution": NAMES}, "run"),
        ({"execution": {**NAMES, "started_at_ms": 1}}, "run:begun"),
        ({"pathParameters": {"callback_token": f"{EXECUTION}.s"}, "body": '{"status": "fail"}'}, "run:fail"),
    ],
)
def test_a_step_tells_invocations_apart(
    directory: Path, monkeypatch: pytest.MonkeyPatch, event: Any, step: str
) -> None:
    monkeypatch.setattr(worker, "_intercept_webhooks", lambda: None)
    monkeypatch.setattr(worker.Now, "invocation", None)
    plans.plan([GUID])
    worker.begin("run", event)
    assert worker.Now.invocation is not None
    worker.Now.invocation.happens("sqs.SendMessage", "{}")
    assert plans.calls_seen([GUID]) == [Call(step, "sqs.SendMessage#1")]


def test_the_plan_of_an_execution_comes_before_that_of_its_job(directory: Path) -> None:
    fault = Fault(Call("finish", "dynamodb.GetItem#1"), worker.KILL)
    plans.plan([GUID], [fault])
    plans.plan([EXECUTION])
    found = worker.planned(directory, {**NAMES, "execution_id": EXECUTION})
    assert found == (worker.key_of(EXECUTION), [])


def test_calls_about_a_subject_are_counted_separately(directory: Path) -> None:
    fault = Fault(Call("reap", "dynamodb.UpdateItem#1", "nightly"), worker.LOSE, (GUID, "nightly"))
    plans.plan(["marker"], [fault])
    found = worker.planned(directory, {"faults": "marker"})
    assert found is not None
    invocation = worker.Invocation(directory, "reap", *found)
    assert invocation.happens("dynamodb.UpdateItem", json.dumps({"job_name": "weekly"})) is None
    assert invocation.happens("dynamodb.UpdateItem", json.dumps({"job_guid": GUID})) == worker.LOSE


@pytest.mark.parametrize(("is_planned", "seconds"), [(False, 10), (True, 200)])
def test_a_choice_of_an_execution_with_a_fault_sees_the_time_that_its_waits_would_have_taken(
    directory: Path, monkeypatch: pytest.MonkeyPatch, is_planned: bool, seconds: int
) -> None:
    contexts: list[Any] = []
    monkeypatch.setattr(stepfunctions, "_execute_choice", lambda *given: contexts.append(given[2]))
    monkeypatch.setitem(stepfunctions._executions, "arn", {"input": json.dumps(NAMES)})
    emulator.let_time_pass_as_fast_as_waits()
    if is_planned:
        plans.plan([GUID], [Fault(Call("run_execution", "dynamodb.PutItem#1"), worker.FAIL)])
    context = {
        "Execution": {"StartTime": "2026-11-23T12:00:00.000Z"},
        "State": {"Name": "IsTimeLeft", "EnteredTime": "2026-11-23T12:00:10.000Z"},
    }
    token = running_execution.set(RunningExecution("arn"))
    try:
        stepfunctions._execute_choice({}, {}, context)
    finally:
        running_execution.reset(token)
    (seen,) = contexts
    assert (
        ms_of_iso(seen["State"]["EnteredTime"]) - ms_of_iso(seen["Execution"]["StartTime"]) == seconds * 1000
    )
    assert context["State"]["EnteredTime"] == "2026-11-23T12:00:10.000Z"


LOST = "the target closed the connection before it answered"


@pytest.mark.parametrize(
    ("kind", "seen", "arrived"),
    [(worker.THROTTLE, [429, 202], 1), (worker.FAIL, [503, 503], 0), (worker.LOSE, [LOST, 202], 2)],
)
def test_a_fault_hits_a_webhook(
    directory: Path, monkeypatch: pytest.MonkeyPatch, kind: str, seen: list[int | str], arrived: int
) -> None:
    monkeypatch.setenv("ALLOW_PRIVATE_TARGETS", "false")
    monkeypatch.setenv("ALLOW_LOOPBACK_TARGETS", "true")
    monkeypatch.setenv("ALLOW_HTTP_TARGETS", "true")
    monkeypatch.setattr(target, "_MAX_RESOLVE_SECONDS", 60)
    monkeypatch.setattr(webhook, "exchange_without_faults", None, raising=False)
    monkeypatch.delattr(webhook, "exchange_without_faults")
    monkeypatch.setattr(webhook, "_exchange", webhook._exchange)
    monkeypatch.setattr(worker.Now, "invocation", None)
    plans.plan([GUID], [Fault(Call("notify_service", f"{worker.WEBHOOK}#1"), kind)])

    def posted(url: str) -> int | str:
        worker.begin("notify_service", {"execution": NAMES})
        try:
            return webhook.post(url, b"{}", {}, 60).status
        except webhook.NoAnswer as error:
            return str(error)

    with Wire([b"HTTP/1.1 202 Accepted\r\n\r\n"]) as wire:
        assert [posted(wire.url), posted(wire.url)] == seen
    assert len(wire.requests) == arrived
    assert plans.calls_seen([GUID]) == [Call("notify_service", "http.POST#1")]
