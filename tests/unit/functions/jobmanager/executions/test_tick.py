"""start_due_executions: starts every due job once, even if a tick is repeated or interrupted."""

import json
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from jobmanager.core.errors import TickIncomplete
from jobmanager.executions import store as executions
from jobmanager.executions import tick as module
from jobmanager.executions.begin import begin
from jobmanager.executions.record import Due, Execution
from jobmanager.executions.tick import start_due_executions
from jobmanager.executions.tick_parts import Tick
from tests.unit.functions.calls import operations
from tests.unit.functions.examples import NOON_MS, save_job
from tests.unit.functions.examples import due as due_at

pytestmark = pytest.mark.usefixtures("cloud")
TICK: Tick = {"schedule": "rate(5 minutes)", "scheduled_time": "2026-11-23T12:00:00Z"}


class FakeStepFunctions:
    """Starts each name once, and throttles jobs in ``failing``. moto's machine would run the executions.

    As on AWS, a repeated start of a running execution with the same input succeeds. All executions run on.
    """

    class exceptions:
        class ExecutionAlreadyExists(Exception):
            pass

    def __init__(self) -> None:
        self.inputs: dict[str, dict[str, Any]] = {}
        self.failing: set[str] = set()

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> None:
        due = json.loads(input)
        if due["job_name"] in self.failing:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "StartExecution")
        if self.inputs.setdefault(name, due) != due:
            raise self.exceptions.ExecutionAlreadyExists


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeStepFunctions:
    fake = FakeStepFunctions()
    monkeypatch.setattr("jobmanager.executions.machine.step_functions", lambda: fake)
    return fake


def no_handover(rest: Tick) -> None:
    pytest.fail(f"handed over {rest}")


def test_a_tick_starts_the_jobs_of_its_schedule_and_no_others(machine: FakeStepFunctions) -> None:
    for name in ("a", "b", "c"):
        save_job(name)
    save_job("hourly", schedule="rate(1 hour)")
    save_job("disabled", enabled=False)
    assert start_due_executions(TICK, lambda: 300_000, no_handover) == 3
    assert sorted(due["job_name"] for due in machine.inputs.values()) == ["a", "b", "c"]
    for name, due in machine.inputs.items():
        assert name == due["execution_id"] == f"{due['job_guid']}-20261123T120000Z"
        assert due["scheduled_time"] == "2026-11-23T12:00:00Z"
        assert due["schedule"] == "rate(5 minutes)"


@pytest.mark.parametrize(
    ("fields", "limits"),
    [
        ({"ttl_seconds": 60, "max_duration_seconds": 500}, (60, 500, 500)),
        ({"ttl_seconds": 60, "heartbeat_interval_seconds": 7, "max_duration_seconds": 500}, (7, 500, 500)),
        ({"async": False, "ttl_seconds": 20, "max_duration_seconds": 30}, (150, 151, 151)),
    ],
    ids=["ttl", "heartbeat interval", "sync"],
)
def test_a_tick_passes_the_limits_of_the_job_to_its_state_machine(
    machine: FakeStepFunctions, fields: dict[str, Any], limits: tuple[int, int, int]
) -> None:
    save_job("a", invocation_type="http", invocation_target="https://billing.example/jobs", **fields)
    start_due_executions(TICK, lambda: 300_000, no_handover)
    (due,) = machine.inputs.values()
    names = ("heartbeat_seconds", "timeout_seconds", "max_duration_seconds")
    assert tuple(due[name] for name in names) == limits


def test_a_duplicate_tick_reports_and_logs_no_start_while_its_executions_still_run(
    machine: FakeStepFunctions, caplog: pytest.LogCaptureFixture
) -> None:
    save_job()
    save_job("b")
    started = [start_due_executions(TICK, lambda: 300_000, no_handover, lambda _: None) for _ in range(3)]
    assert started == [2, 0, 0]
    lines = [vars(line) for line in caplog.records if line.message == "tick handled"]
    assert [line["started"] for line in lines] == [2, 0, 0]


HOURLY: Tick = {"schedule": "rate(1 hour)", "scheduled_time": "2026-11-23T12:00:00Z"}


def moved_and_skipped(machine: FakeStepFunctions) -> None:
    """A job whose execution for the old schedule's tick was skipped, because it had just moved here."""
    save_job(at_ms=NOON_MS - 1000)
    start_due_executions(TICK, lambda: 300_000, no_handover)
    save_job(schedule="rate(1 hour)", at_ms=NOON_MS - 500)
    (due,) = machine.inputs.values()
    assert begin(cast(Due, due), NOON_MS + 1000)["reason"]["code"] == "schedule_changed"


def test_a_job_whose_execution_was_skipped_as_it_moved_here_runs_once_for_this_tick(
    machine: FakeStepFunctions,
) -> None:
    moved_and_skipped(machine)
    assert [start_due_executions(HOURLY, lambda: 300_000, no_handover) for _ in range(3)] == [1, 0, 0]
    skipped, moved = machine.inputs.values()
    assert moved["execution_id"] == f"{skipped['execution_id']}-moved"
    record = begin(cast(Due, moved), NOON_MS + 2000)
    assert (record["status"], record["schedule"]) == ("running", "rate(1 hour)")


def test_a_job_that_is_skipped_as_moved_while_the_tick_of_its_new_schedule_comes_runs_once(
    machine: FakeStepFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its execution looked whether the new schedule fired before that tick was recorded, and ends after."""
    save_job(at_ms=NOON_MS - 1000)
    start_due_executions(TICK, lambda: 300_000, no_handover)
    save_job(schedule="rate(1 hour)", at_ms=NOON_MS - 500)
    (due,) = machine.inputs.values()

    def skip(_: float) -> None:
        with monkeypatch.context() as before:
            before.setattr("jobmanager.schedules.counts.last_tick_ms", lambda _: None)
            assert begin(cast(Due, due), NOON_MS + 1000)["reason"]["code"] == "schedule_changed"

    assert start_due_executions(HOURLY, lambda: 300_000, no_handover, skip) == 1
    assert begin(cast(Due, [*machine.inputs.values()][-1]), NOON_MS + 2000)["status"] == "running"


def test_a_failed_start_under_the_other_name_is_retried(machine: FakeStepFunctions) -> None:
    moved_and_skipped(machine)
    start = machine.start_execution
    failures = iter([True, False])

    def fail_once(*, stateMachineArn: str, name: str, input: str) -> None:
        if name.endswith("-moved") and next(failures):
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "StartExecution")
        start(stateMachineArn=stateMachineArn, name=name, input=input)

    machine.start_execution = fail_once  # type: ignore[method-assign]
    assert start_due_executions(HOURLY, lambda: 300_000, no_handover, lambda seconds: None) == 1


def test_a_record_that_could_not_be_read_is_read_in_the_next_round(
    machine: FakeStepFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved_and_skipped(machine)
    find_many, failures = executions.find_many, iter([True])

    def fail_once(names: list[str]) -> list[Execution]:
        if next(failures, False):
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "BatchGetItem")
        return find_many(names)

    monkeypatch.setattr(executions, "find_many", fail_once)
    assert start_due_executions(HOURLY, lambda: 300_000, no_handover, lambda seconds: None) == 1


@pytest.mark.parametrize("how", ["runs", "was skipped for its lock", "has no record yet"])
def test_a_name_that_is_taken_for_another_reason_is_left_alone(machine: FakeStepFunctions, how: str) -> None:
    save_job(exclusive=True, ttl_seconds=600)
    if how == "was skipped for its lock":
        begin(due_at(at_ms=NOON_MS - 60_000), NOON_MS)
    start_due_executions(TICK, lambda: 300_000, no_handover)
    if how != "has no record yet":
        begin(due_at(), NOON_MS)
    assert start_due_executions(TICK, lambda: 300_000, no_handover, lambda _: None) == 0
    assert start_due_executions(TICK, lambda: 1000, no_handover) == 0
    assert len(machine.inputs) == 1


def test_a_tick_in_time_reads_neither_jobs_nor_records_and_a_repeated_one_reads_records_at_once(
    machine: FakeStepFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        save_job(name)
    made = operations(monkeypatch)
    start_due_executions(TICK, lambda: 300_000, no_handover)
    assert sorted(made) == ["Query", "UpdateItem"]
    for due in machine.inputs.values():
        begin(cast(Due, due), NOON_MS)
    made.clear()
    start_due_executions(TICK, lambda: 300_000, no_handover)
    assert sorted(made) == ["BatchGetItem", "Query", "UpdateItem"]


def test_a_throttled_start_is_retried_in_the_next_round(machine: FakeStepFunctions) -> None:
    for name in ("a", "b", "c"):
        save_job(name)
    machine.failing = {"b", "c"}
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        machine.failing = {"c"} if len(pauses) < 3 else set()

    assert start_due_executions(TICK, lambda: 300_000, no_handover, pause) == 3
    assert len(pauses) == 3
    assert pauses[0] <= 1 <= pauses[2] <= 4


def test_a_start_that_keeps_failing_does_not_stop_the_others_and_fails_the_tick(
    machine: FakeStepFunctions,
) -> None:
    for name in ("a", "b", "c"):
        save_job(name)
    machine.failing = {"b"}
    remaining = iter([300_000, 100_000, 10_000])
    with pytest.raises(TickIncomplete, match="1 executions"):
        start_due_executions(TICK, lambda: next(remaining), no_handover, lambda seconds: None)
    assert len(machine.inputs) == 2
    machine.failing = set()
    assert start_due_executions(TICK, lambda: 300_000, no_handover) == 1


def test_an_invocation_that_runs_out_of_time_hands_over_the_rest(
    machine: FakeStepFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    for name in "abcde":
        save_job(name)
    rests: list[Tick] = []
    start_due_executions(TICK, lambda: 1000, rests.append)
    while len(rests) < 4 and rests[-1:] and len(machine.inputs) < 5:
        start_due_executions(rests[-1], lambda: 1000, rests.append)
    assert len(machine.inputs) == 5
    assert [rest["after"] for rest in rests] == ["billing/b", "billing/d"]


def test_a_tick_reads_all_pages_of_jobs(machine: FakeStepFunctions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    for name in "abcde":
        save_job(name, at_ms=NOON_MS)
    assert start_due_executions(TICK, lambda: 300_000, no_handover) == 5
