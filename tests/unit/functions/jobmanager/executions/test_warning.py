"""execution.late is told once of an execution that runs longer than warn_after_seconds, which goes on."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from jobmanager.aws import topics
from jobmanager.core.errors import AwsCallFailed
from jobmanager.delivery.machines import machine_of
from jobmanager.delivery.notify import run
from jobmanager.executions import store as executions
from jobmanager.executions import warning
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.reap import reap
from jobmanager.executions.record import Execution
from jobmanager.executions.time_limits import task_limits
from jobmanager.executions.view import execution_view
from tests.unit.functions.callbacks import call_back
from tests.unit.functions.examples import NOON_MS, due, save_job, stored
from tests.unit.functions.jobmanager.executions import test_sweep
from tests.unit.functions.machines import Machines
from tests.unit.functions.target import Target

pytestmark = pytest.mark.usefixtures("cloud", "machines")
NOON = NOON_MS // 1000
TTL = 300
begun = test_sweep.begun
at = test_sweep.at


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The warnings that were published. Others are published too, and are checked by the fixture cloud."""
    messages: list[dict[str, Any]] = []
    publish = topics.publish

    def note(client: Any, message: dict[str, Any]) -> None:
        publish(client, message)
        messages.append(message)

    monkeypatch.setattr(warning, "publish", note)
    return messages


def sweep(seconds: int) -> None:
    reap(NOON_MS + seconds * 1000, lambda: 300_000)


def begun_as(workflow_type: str, target: Target, **fields: Any) -> dict[str, Any]:
    """Lets an execution begin at noon, and notifies its service."""
    if workflow_type == "express":
        return begun(target, **fields)
    return begun_standard(target, **fields)


def begun_standard(target: Target, **fields: Any) -> dict[str, Any]:
    job = save_job(**{"ttl_seconds": TTL, "invocation_target": target.url, **fields})
    execution = {**due(), **task_limits(job)}
    run(execution, machine_of({"execution": execution, "task_token": "task"}), NOON_MS)
    return execution


BOTH = pytest.mark.parametrize("workflow_type", ["standard", "express"])


@BOTH
def test_an_execution_that_runs_too_long_is_told_of_once_and_goes_on(
    told: list[dict[str, Any]], target: Target, machines: Machines, workflow_type: str
) -> None:
    machines.is_running = True
    execution = begun_as(workflow_type, target, warn_after_seconds=100, owner="team-billing")
    for seconds in (61, 99):
        sweep(seconds)
    assert told == []
    for seconds in (100, 101, 160, 220):
        sweep(seconds)
    (event,) = told
    assert (event["event"], event["execution_id"]) == ("execution.late", execution["execution_id"])
    assert (event["status"], event["attempt"], event["warn_after_seconds"]) == ("running", 1, 100)
    assert event["owner"] == "team-billing"
    record = stored(execution)
    assert (record["status"], record["warned_at_ms"]) == ("running", NOON_MS + 100_000)
    assert record["sweep_at"] == NOON + TTL
    assert execution_view(record)["warned_at_ms"] == NOON_MS + 100_000
    assert call_back(target, status="success") == 200
    assert "sweep_at" not in stored(execution)


@BOTH
def test_an_execution_that_ends_in_time_is_not_told_of(
    told: list[dict[str, Any]], target: Target, workflow_type: str
) -> None:
    execution = begun_as(workflow_type, target, warn_after_seconds=100)
    sweep(61)
    assert call_back(target, status="success") == 200
    sweep(100)
    assert told == []
    assert "warned_at_ms" not in stored(execution)


def test_a_heartbeat_does_not_put_off_the_warning(
    told: list[dict[str, Any]], target: Target, at: Callable[[int], None]
) -> None:
    execution = begun_standard(target, warn_after_seconds=100)
    at(50)
    assert call_back(target, status="processing", progress=40, extend_seconds=200) == 200
    assert stored(execution)["sweep_at"] == NOON + 100
    sweep(100)
    assert [event["progress"] for event in told] == [40]
    assert stored(execution)["sweep_at"] == NOON + 250


def test_of_two_sweeps_at_once_one_tells(
    told: list[dict[str, Any]], target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_standard(target, warn_after_seconds=100)
    find = executions.find

    def find_and_let_another_sweep(execution_id: str) -> Execution | None:
        found = find(execution_id)
        monkeypatch.setattr(executions, "find", find)
        sweep(100)
        return found

    monkeypatch.setattr(executions, "find", find_and_let_another_sweep)
    sweep(100)
    assert len(told) == 1


@pytest.mark.parametrize("dies", ["before it is published", "before it is noted"])
def test_a_sweep_that_dies_half_way_leaves_the_warning_to_a_later_one(
    told: list[dict[str, Any]], target: Target, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    execution = begun_standard(target, warn_after_seconds=100)

    def refuse(*_: Any, **__: Any) -> None:
        raise ClientError({"Error": {"Code": "InternalError"}}, "Publish")

    with monkeypatch.context() as dying:
        if dies == "before it is published":
            dying.setattr(warning, "publish", refuse)
        else:
            dying.setattr(executions, "update_if", _dies_noting(executions.update_if, refuse))
        with pytest.raises(AwsCallFailed):
            sweep(100)
    before = len(told)
    assert "warned_at_ms" not in stored(execution)
    sweep(129)
    assert len(told) == before
    sweep(130)
    sweep(190)
    assert len(told) == before + 1
    assert len({(event["event"], event["execution_id"]) for event in told}) == 1


def _dies_noting(update_if: Any, refuse: Callable[..., None]) -> Any:
    def update(execution_id: str, update: str, *rest: Any) -> Any:
        if "warned_at_ms" in update:
            refuse()
        return update_if(execution_id, update, *rest)

    return update


def test_a_warning_between_two_attempts_does_not_begin_the_next_one_early(
    told: list[dict[str, Any]], target: Target, machines: Machines
) -> None:
    retry = {"max_attempts": 2, "interval_seconds": 200, "on": ["fail"]}
    execution = begun(target, warn_after_seconds=100, retry=retry)
    assert end_attempt(stored(execution), "fail", {"error": "no"}, NOON_MS + 10_000)
    assert stored(execution)["sweep_at"] == NOON + 100
    sweep(100)
    assert (len(told), machines.started) == (1, [])
    assert stored(execution)["sweep_at"] == NOON + 210
    sweep(210)
    assert len(machines.started) == 1


def test_an_execution_that_is_overdue_ends_without_a_warning(
    told: list[dict[str, Any]], target: Target
) -> None:
    execution = begun_standard(target, warn_after_seconds=100)
    sweep(TTL + 61)
    assert told == []
    assert stored(execution)["status"] == "timeout"


def test_a_job_without_it_costs_nothing_more(target: Target) -> None:
    """The sweep first looks at its executions when it always did, and their records have no new attribute."""
    execution = begun_standard(target)
    record = stored(execution)
    assert record["sweep_at"] == record["lock_expires_at"]
    assert not {"warn_after_seconds", "warned_at_ms"} & record.keys()
