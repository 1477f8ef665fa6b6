"""The two kinds of machines: whom a function serves, and which of its writes may take effect."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from jobmanager.delivery.machines import ExpressExecution, StandardTask, machine_of
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.begin_or_wait import begin_to_notify
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.moved import due_once_more
from jobmanager.executions.record import Due, Execution
from tests.unit.functions.examples import ACCOUNT, NOON_MS, due, end_as, save_job, stored
from tests.unit.functions.machines import Machines

pytestmark = pytest.mark.usefixtures("cloud")
ARN = f"arn:aws:states:us-east-1:{ACCOUNT}:express:sjm-test-run-job-express"
NAME = due()["execution_id"]


@pytest.mark.parametrize(
    ("event", "machine"),
    [
        ({"execution": {}, "task_token": "token"}, StandardTask("token")),
        ({"execution": {}, "machine_execution": f"{ARN}:{NAME}:4f1c-9"}, ExpressExecution("4f1c-9")),
        (
            {"execution": {"takes_over": "4f1c-8"}, "machine_execution": f"{ARN}:{NAME}:4f1c-9"},
            ExpressExecution("4f1c-9", "4f1c-8"),
        ),
        (
            {
                "execution": {},
                "machine_execution": f"{ARN}:{NAME}:4f1c-9",
                "machine_started_at": "2026-11-23T12:00:00.123Z",
            },
            ExpressExecution("4f1c-9", None, NOON_MS + 123),
        ),
    ],
)
def test_a_function_knows_its_machine_by_the_event(event: dict[str, Any], machine: Any) -> None:
    assert machine_of(event) == machine


def running(machine_execution: str | None, **fields: Any) -> Execution:
    """An Express execution whose attempt this machine execution runs, or none."""
    save_job(workflow_type="express", **fields)
    waiting: Any = {"callback_hashes": ["h"], "machine_execution": machine_execution or "m-0"}
    record = begin_to_notify(due(), waiting, NOON_MS).record
    if machine_execution is None:
        executions.update_if(NAME, "REMOVE machine_execution", "#status = :running", {":running": "running"})
    return stored(record)


@pytest.mark.parametrize(
    ("owner", "takes_over", "may_write"),
    [
        ("m-1", None, True),
        ("m-2", None, False),
        ("m-2", "m-2", True),
        ("m-3", "m-2", False),
        ("m-1", "m-2", True),
        (None, None, True),
        (None, "m-2", True),
    ],
)
def test_an_attempt_is_free_for_its_owner_and_for_whom_takes_over_from_that_one(
    owner: str | None, takes_over: str | None, may_write: bool
) -> None:
    record = running(owner)
    machine = ExpressExecution("m-1", takes_over)
    condition, values = executions.is_at_attempt(1)
    free, of_machine = machine.condition()
    claim, claimed = machine.claim(record, NOON_MS + 30_000)
    written = executions.update_if(
        NAME, f"SET {claim}", condition + free, {**values, **of_machine, **claimed}
    )
    assert (written is not None) == may_write
    if written is not None:
        assert machine.runs(written)
        assert written["sweep_at"] == NOON_MS // 1000 + 90
    else:
        assert stored(record) == record
        assert not machine.runs(record)


@pytest.mark.parametrize("ends", ["execution", "attempt"])
def test_a_delivery_is_not_noted_after_the_end(ends: str) -> None:
    record = running("m-1", retry={"max_attempts": 2})
    if ends == "attempt":
        end_attempt(record, "fail", {}, NOON_MS)
    else:
        end_as(record, "success", {}, NOON_MS)
    before = stored(record)
    ExpressExecution("m-1").confirm(record)
    assert stored(record) == before


def test_a_machine_execution_that_was_replaced_may_still_note_that_it_notified_the_service() -> None:
    record = running("m-2")
    ExpressExecution("m-1").confirm(record)
    assert stored(record)["delivered_attempt"] == 1


@pytest.mark.parametrize(("owner", "is_delivered"), [("m-2", False), ("m-1", True)])
def test_an_attempt_of_another_or_one_that_was_delivered_is_not_postponed(
    owner: str, is_delivered: bool
) -> None:
    record = running(owner)
    if is_delivered:
        ExpressExecution("m-1").confirm(record)
    before = stored(record)
    ExpressExecution("m-1").postpone({}, record, NOON_MS // 1000 + 40, 40)
    assert stored(record) == before


def test_a_standard_task_needs_no_claim_on_the_attempt(machines: Machines) -> None:
    save_job()
    record = begin(due(), NOON_MS)
    machine = StandardTask("token")
    assert (machine.condition(), machine.runs(record)) == (("", {}), True)
    assert machine.callback_fields("h") == {"callback_hashes": ["h"], "task_token": "token"}
    machine.confirm(record)
    assert stored(record) == record


@pytest.mark.parametrize("is_over", [False, True])
def test_a_standard_task_waits_until_step_functions_says_otherwise(machines: Machines, is_over: bool) -> None:
    machines.is_over = is_over
    assert StandardTask("token").still_waits() == (not is_over)


def test_a_standard_task_whose_heartbeat_fails_is_taken_for_waiting(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: str) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException"}}, "SendTaskHeartbeat")

    monkeypatch.setattr(machines, "send_task_heartbeat", refuse)
    assert StandardTask("token").still_waits()


@pytest.mark.parametrize(("attempt", "waits"), [(1, False), (2, True)])
def test_a_standard_task_waits_only_for_the_attempt_that_runs(attempt: int, waits: bool) -> None:
    save_job(retry={"max_attempts": 2})
    end_attempt(begin(due(), NOON_MS), "fail", {}, NOON_MS)
    assert StandardTask("token").wait(NAME, attempt) == waits
    assert stored(due()).get("task_token") == ("token" if waits else None)


def moved_record(schedule: str) -> Execution:
    reason = {"code": "schedule_changed", "detail": "d"}
    record: Any = {"execution_id": NAME, "status": "skipped", "reason": reason, "schedule": schedule}
    found: Execution = record
    return found


@pytest.mark.parametrize(
    ("fields", "schedule", "is_due"),
    [
        ({}, "rate(5 minutes)", True),
        ({}, "rate(1 hour)", False),
        ({"execution_id": f"{NAME}-moved"}, "rate(5 minutes)", False),
        ({"schedule": None}, "rate(5 minutes)", False),
    ],
    ids=["moved here", "moved elsewhere", "has run as moved", "no tick"],
)
def test_only_the_tick_of_the_new_schedule_runs_a_job_that_moved(
    fields: dict[str, Any], schedule: str, is_due: bool
) -> None:
    given: Any = {name: value for name, value in {**due(), **fields}.items() if value is not None}
    tick: Due = given
    moved = due_once_more(tick, moved_record(schedule))
    assert moved == ({**due(), "execution_id": f"{NAME}-moved"} if is_due else None)
