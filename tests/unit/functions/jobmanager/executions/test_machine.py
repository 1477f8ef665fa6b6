"""Which state machine an execution is started, stopped and looked for in: that of its type."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from functions.rerun_execution.handler import handler as rerun_execution
from functions.start_execution.handler import handler as start_execution
from jobmanager.executions import machine
from jobmanager.executions.begin import begin
from jobmanager.executions.begin_or_wait import begin_to_notify
from jobmanager.executions.record import Start
from jobmanager.executions.tick import start_due_executions
from tests.unit.functions.examples import MACHINE, NOON_MS, api_event, due, lambda_context, save_job, stored
from tests.unit.functions.machines import Machines

pytestmark = pytest.mark.usefixtures("cloud")
STANDARD = MACHINE.rpartition(":")[2]
EXPRESS = f"{STANDARD}-express"


@pytest.fixture(autouse=True)
def one_client(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """The executions that have traces of their own are started by another client."""
    monkeypatch.setattr("jobmanager.executions.machine.untraced_step_functions", lambda: machines)
    return machines


def by_hand(handler: Any, **path: Any) -> dict[str, Any]:
    event = api_event("POST", None, service_name="billing", job_name="nightly", **path)
    answer = handler(event, lambda_context())
    assert answer["statusCode"] == 201
    record: dict[str, Any] = json.loads(answer["body"])
    return record


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, STANDARD),
        ({"workflow_type": "standard"}, STANDARD),
        ({"workflow_type": "express"}, EXPRESS),
    ],
)
@pytest.mark.parametrize("has_own_trace", [False, True])
def test_a_tick_starts_the_machine_of_the_type(
    machines: Machines, fields: dict[str, Any], name: str, has_own_trace: bool
) -> None:
    limits = {"heartbeat_seconds": 1, "timeout_seconds": 2, "max_duration_seconds": 3}
    passed: Start = {**due(), **limits, **fields}  # type: ignore[typeddict-item]
    assert machine.start_machine(passed, has_own_trace)
    assert machines.started == [(name, passed)]


def test_only_the_fields_of_a_start_are_passed_to_a_machine(machines: Machines) -> None:
    machine.start_machine({**due(), "payload": "confidential"})  # type: ignore[typeddict-item, typeddict-unknown-key]
    assert machines.started == [(STANDARD, due())]


def test_a_tick_starts_each_job_in_the_machine_of_its_type(machines: Machines) -> None:
    save_job("a")
    save_job("b", workflow_type="express")
    save_job("c", workflow_type="standard")
    tick: Any = {"schedule": "rate(5 minutes)", "scheduled_time": "2026-11-23T12:00:00Z"}
    assert start_due_executions(tick, lambda: 300_000, lambda rest: None) == 3
    started = {passed["job_name"]: (name, passed["workflow_type"]) for name, passed in machines.started}
    assert started == {"a": (STANDARD, "standard"), "b": (EXPRESS, "express"), "c": (STANDARD, "standard")}


def test_an_express_execution_that_was_started_before_is_started_again(machines: Machines) -> None:
    """So Step Functions answers, and the insert of the record decides."""
    save_job(workflow_type="express")
    tick: Any = {"schedule": "rate(5 minutes)", "scheduled_time": "2026-11-23T12:00:00Z"}
    assert [start_due_executions(tick, lambda: 300_000, lambda rest: None) for _ in range(2)] == [1, 1]
    assert len({passed["delivery_id"] for _, passed in machines.started}) == 2


@pytest.mark.parametrize(("workflow_type", "name"), [("standard", STANDARD), ("express", EXPRESS)])
def test_a_run_by_hand_and_a_rerun_start_the_machine_of_the_job(
    machines: Machines, workflow_type: str, name: str
) -> None:
    save_job(workflow_type=workflow_type)
    first = by_hand(start_execution)
    second = by_hand(rerun_execution, execution_id=first["execution_id"])
    assert [started for started, _ in machines.started] == [name, name]
    assert [first["workflow_type"], second["workflow_type"]] == [workflow_type, workflow_type]
    assert second["rerun_of"] == first["execution_id"]


def test_a_rerun_of_a_job_whose_type_has_changed_has_the_new_type(machines: Machines) -> None:
    save_job(workflow_type="express")
    first = by_hand(start_execution)
    save_job(workflow_type="standard")
    by_hand(rerun_execution, execution_id=first["execution_id"])
    assert [started for started, _ in machines.started] == [EXPRESS, STANDARD]


def test_an_express_execution_that_goes_on_says_from_which_it_takes_over(machines: Machines) -> None:
    save_job(workflow_type="express")
    begin_to_notify(due(), {"machine_execution": "m-1", "callback_hashes": ["h"]}, NOON_MS)
    machine.start_machine_of(stored(due()))
    ((name, passed),) = machines.started
    assert (name, passed["takes_over"], passed["workflow_type"]) == (EXPRESS, "m-1", "express")
    assert "payload" not in passed


def test_the_minute_of_a_machine_counts_from_when_the_service_may_call_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading the job may have taken seconds."""
    passed = iter((0.0, 7.0))
    monkeypatch.setattr("jobmanager.core.clock.time", SimpleNamespace(monotonic=lambda: next(passed)))
    save_job(workflow_type="express", ttl_seconds=300)
    record = begin_to_notify(due(), {"machine_execution": "m-1", "callback_hashes": ["h"]}, NOON_MS).record
    assert record.get("service_invoked_at_ms") == NOON_MS + 7000
    assert (record["sweep_at"], record["lock_expires_at"]) == (NOON_MS // 1000 + 67, NOON_MS // 1000 + 307)


def test_a_standard_execution_that_goes_on_takes_over_from_none(machines: Machines) -> None:
    save_job()
    machine.start_machine_of(begin(due(), NOON_MS))
    ((name, passed),) = machines.started
    assert (name, passed.keys() & {"takes_over", "workflow_type"}) == (STANDARD, set())


def named(execution_id: str) -> Any:
    return {"execution_id": execution_id}


def test_the_machine_of_an_execution_that_has_waited_has_a_name_of_its_own(machines: Machines) -> None:
    """The machine of the tick has ended with the first name, and Step Functions accepts a name only once."""
    waited: Any = {**named("guid-20261123T120000Z"), "waiting_since_ms": NOON_MS}
    machine.stop_machine(waited, "E", "C")
    assert machines.stopped_names == ["guid-20261123T120000Z-w"]


def test_a_standard_execution_is_stopped_by_its_own_arn(machines: Machines) -> None:
    machine.stop_machine(named("guid-20261123T120000Z"), "E", "C")
    (request,) = machines.stopped
    assert (
        request["executionArn"] == f"{MACHINE.replace(':stateMachine:', ':execution:')}:guid-20261123T120000Z"
    )


def test_the_machine_of_a_job_that_was_express_before_and_moved_is_found_by_the_name_that_was_free(
    machines: Machines,
) -> None:
    """Else the reaper would end an execution whose machine still tries to notify the service."""
    name = "4f9a1c4e-0000-4000-8000-000000000000-20261123T120000Z"
    machines.is_running, machines.never_started = True, {f"{name}-moved"}
    assert machine.is_machine_running(named(f"{name}-moved"))
    machine.stop_machine(named(f"{name}-moved"), "E", "C")
    assert machines.stopped_names == [name]


@pytest.mark.parametrize("suffix", ["", "-moved", "-manual-k3j9"])
def test_no_other_machine_is_looked_for_beside_the_one_that_has_the_name(
    machines: Machines, suffix: str
) -> None:
    name = f"4f9a1c4e-0000-4000-8000-000000000000-20261123T120000Z{suffix}"
    assert not machine.is_machine_running(named(name))
    machine.stop_machine(named(name), "E", "C")
    assert machines.stopped_names == [name]
    machines.is_running = True
    machines.never_started = {name} if suffix != "-moved" else {name, name.removesuffix(suffix)}
    assert not machine.is_machine_running(named(name))
    machine.stop_machine(named(name), "E", "C")
    assert machines.stopped_names == [name]
