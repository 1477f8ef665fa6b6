"""Spread jobs: a tick sends them to a queue, and they start once, at their offset after the tick."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.start_spread_executions.handler import handler
from jobmanager.core.clock import iso
from jobmanager.core.errors import TickIncomplete
from jobmanager.core.names import execution_id, job_guid
from jobmanager.executions import delayed_starts
from jobmanager.executions.begin import begin
from jobmanager.executions.record import Due, invocation_latency_ms
from jobmanager.executions.start_jobs import Budget, thread_pool
from jobmanager.executions.tick import start_due_executions
from jobmanager.executions.tick_parts import Tick
from jobmanager.jobs import changes, store
from jobmanager.jobs.spread import offset_seconds
from jobmanager.schedules import counts
from tests.unit.functions.examples import NOON_MS, due, lambda_context, save_job

pytestmark = pytest.mark.usefixtures("cloud")
TICK: Tick = {"schedule": "rate(5 minutes)", "scheduled_time": "2026-11-23T12:00:00Z"}
OFFSET = offset_seconds("billing/nightly", 3600)


def no_handover(rest: Tick) -> None:
    pytest.fail(f"handed over {rest}")


class Stage:
    """The clock, Step Functions, which takes each name once, and the queue, which delays its messages."""

    class exceptions:
        class ExecutionAlreadyExists(Exception):
            pass

    def __init__(self) -> None:
        self.at_ms = NOON_MS + 400
        self.inputs: dict[str, dict[str, Any]] = {}
        self.started_at_ms: dict[str, int] = {}
        self.failing: set[str] = set()
        self.waiting: list[tuple[int, str]] = []
        self.sent: list[dict[str, Any]] = []
        self.calls = 0
        self.refused_calls = 0
        self.refuses_entry: Callable[[dict[str, Any]], bool] = lambda entry: False

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> None:
        started = json.loads(input)
        if started["job_name"] in self.failing:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "StartExecution")
        if self.inputs.setdefault(name, started) != started:
            raise self.exceptions.ExecutionAlreadyExists
        self.started_at_ms[started["job_name"]] = self.at_ms

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        assert QueueUrl == "https://sqs/spread"
        assert len(Entries) <= 10
        assert sum(len(entry["MessageBody"].encode()) for entry in Entries) <= 262_144
        self.calls += 1
        if self.refused_calls:
            self.refused_calls -= 1
            raise ClientError({"Error": {"Code": "RequestThrottled"}}, "SendMessageBatch")
        failed = []
        for entry in Entries:
            assert 0 <= entry["DelaySeconds"] <= 900
            if self.refuses_entry(entry):
                failed.append({"Id": entry["Id"], "Message": "try again", "Code": "InternalError"})
                continue
            self.sent.append(entry)
            self.waiting.append((self.at_ms + entry["DelaySeconds"] * 1000, entry["MessageBody"]))
        return {"Successful": [], "Failed": failed}

    def tick(self, remaining_ms: int = 300_000) -> int:
        return start_due_executions(TICK, lambda: remaining_ms, no_handover, lambda _: None)

    def deliver_next(self, early_ms: int = 0) -> int:
        """Delivers the message whose delay ends first; returns how many jobs it started."""
        self.waiting.sort()
        ready_ms, body = self.waiting.pop(0)
        self.at_ms = max(self.at_ms, ready_ms - early_ms)
        return self.deliver(body)

    @staticmethod
    def deliver(*bodies: str) -> int:
        records = [{"messageId": f"id-{number}", "body": body} for number, body in enumerate(bodies)]
        return handler({"Records": records}, lambda_context())["started"]

    def deliver_all(self) -> None:
        while self.waiting:
            self.deliver_next()


@pytest.fixture(autouse=True)
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setenv("SPREAD_QUEUE_URL", "https://sqs/spread")
    for client in ("step_functions", "untraced_step_functions"):
        monkeypatch.setattr(f"jobmanager.executions.machine.{client}", lambda: stage)
    monkeypatch.setattr(delayed_starts, "sqs", lambda: stage)
    monkeypatch.setattr(delayed_starts, "now_ms", lambda: stage.at_ms)
    return stage


def started_jobs(stage: Stage) -> list[str]:
    return sorted(started["job_name"] for started in stage.inputs.values())


def test_jobs_without_an_offset_start_at_once_and_cost_no_message(stage: Stage) -> None:
    for name in ("a", "b"):
        save_job(name)
    assert stage.tick() == 2
    assert (stage.calls, started_jobs(stage)) == (0, ["a", "b"])
    assert all("starts_at" not in started for started in stage.inputs.values())


def test_a_spread_job_starts_at_its_offset_and_its_scheduled_time_stays_nominal(stage: Stage) -> None:
    save_job("at-once")
    save_job(spread_seconds=3600)
    assert stage.tick() == 1
    assert started_jobs(stage) == ["at-once"]
    assert counts.last_tick_ms("rate(5 minutes)") == NOON_MS

    stage.deliver_all()
    name = execution_id(job_guid("billing", "nightly"), NOON_MS)
    started = stage.inputs[name]
    assert (started["scheduled_time"], started["starts_at"]) == (iso(NOON_MS), iso(NOON_MS + OFFSET * 1000))
    assert NOON_MS + OFFSET * 1000 <= stage.started_at_ms["nightly"] < NOON_MS + OFFSET * 1000 + 1000
    assert started["ttl_seconds" if "ttl_seconds" in started else "heartbeat_seconds"] == 300


def test_an_hour_takes_four_messages_none_of_which_is_delayed_too_long(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobmanager.executions.spread.offset_seconds", lambda key, spread: spread)
    save_job(spread_seconds=3600)
    stage.tick()
    stage.deliver_all()
    assert [entry["DelaySeconds"] for entry in stage.sent] == [900, 900, 900, 900]
    assert stage.started_at_ms == {"nightly": NOON_MS + 400 + 3_600_000}


def test_a_message_that_comes_early_waits_for_the_rest(stage: Stage) -> None:
    save_job(spread_seconds=60)
    stage.tick()
    assert stage.deliver_next(early_ms=5000) == 0
    assert started_jobs(stage) == []
    stage.deliver_all()
    assert started_jobs(stage) == ["nightly"]
    assert stage.started_at_ms["nightly"] >= NOON_MS + offset_seconds("billing/nightly", 60) * 1000


def test_jobs_of_one_offset_share_a_message_and_a_message_is_bounded(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobmanager.executions.spread.offset_seconds", lambda key, spread: spread)
    monkeypatch.setattr(delayed_starts, "_JOBS_PER_MESSAGE", 3)
    for number in range(7):
        save_job(f"a-{number}", spread_seconds=10)
    save_job("b", spread_seconds=20)
    stage.tick()
    sizes = [len(json.loads(entry["MessageBody"])["jobs"]) for entry in stage.sent]
    assert (sorted(sizes), stage.calls) == ([1, 1, 3, 3], 1)
    stage.deliver_all()
    assert len(started_jobs(stage)) == 8


def test_ten_of_the_largest_messages_fit_into_a_call(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of the fake queue asserts its size."""
    monkeypatch.setattr("jobmanager.executions.spread.offset_seconds", lambda key, spread: spread)
    largest: Any = {
        "async": False,
        "ttl_seconds": 43_200,
        "heartbeat_interval_seconds": 43_200,
        "max_duration_seconds": 2_592_000,
        "workflow_type": "standard",
        "spread_seconds": 3600,
    }
    jobs: list[Any] = [{"job_key": f"{'s' * 64}/{'j' * 60}{number:04}", **largest} for number in range(800)]
    with thread_pool() as pool:
        budget = Budget(lambda: 300_000, 1000, lambda _: None)
        done = delayed_starts.start_or_delay(pool, jobs, TICK, budget)
    assert (done.failed, stage.calls, len(stage.sent)) == (0, 1, 10)


def test_a_tick_that_is_handled_twice_and_messages_that_come_twice_start_a_job_once(stage: Stage) -> None:
    save_job(spread_seconds=3600)
    stage.tick()
    stage.tick()
    stage.deliver(stage.waiting[0][1])
    stage.deliver_all()
    assert started_jobs(stage) == ["nightly"]
    assert len(stage.sent) > 2


def test_a_late_tick_starts_at_once_what_should_have_started(stage: Stage) -> None:
    save_job(spread_seconds=3600)
    stage.at_ms = NOON_MS + OFFSET * 1000
    assert stage.tick() == 1
    assert stage.calls == 0
    (started,) = stage.inputs.values()
    assert started["starts_at"] == iso(NOON_MS + OFFSET * 1000)


def test_what_the_queue_does_not_take_is_sent_again(stage: Stage) -> None:
    for number in range(30):
        save_job(f"job-{number}", spread_seconds=3600)
    stage.refused_calls = 2
    seen: set[str] = set()

    def refuses_each_at_first(entry: dict[str, Any]) -> bool:
        is_new = entry["MessageBody"] not in seen and len(seen) < 5
        seen.update([entry["MessageBody"]] if is_new else [])
        return is_new

    stage.refuses_entry = refuses_each_at_first
    assert stage.tick() == 0
    stage.deliver_all()
    assert started_jobs(stage) == sorted(f"job-{number}" for number in range(30))


def test_a_tick_pauses_only_before_it_sends_again(stage: Stage) -> None:
    save_job(spread_seconds=3600)
    stage.refused_calls = 1
    pauses: list[float] = []
    with thread_pool() as pool:
        budget = Budget(lambda: 300_000, 1000, pauses.append)
        done = delayed_starts.start_or_delay(pool, [store.read("billing", "nightly")], TICK, budget)
    assert (done.failed, stage.calls, len(pauses)) == (0, 2, 1)


def test_a_tick_that_cannot_send_must_be_delivered_again(stage: Stage) -> None:
    save_job("at-once")
    save_job(spread_seconds=3600)
    stage.refused_calls = 1
    with pytest.raises(TickIncomplete, match="1 executions were not started"):
        stage.tick(remaining_ms=1000)
    assert started_jobs(stage) == ["at-once"]
    stage.tick()
    stage.deliver_all()
    assert started_jobs(stage) == ["at-once", "nightly"]


def test_a_job_without_an_offset_does_not_wait_for_a_queue_that_takes_nothing(stage: Stage) -> None:
    save_job("at-once")
    save_job(spread_seconds=3600)
    stage.refused_calls = 5
    calls_at_start: list[int] = []
    start = stage.start_execution

    def start_execution(**request: str) -> None:
        calls_at_start.append(stage.calls)
        start(**request)

    stage.start_execution = start_execution  # type: ignore[method-assign]
    assert stage.tick() == 1
    assert (calls_at_start, stage.calls) == ([1], 6)
    stage.deliver_all()
    assert started_jobs(stage) == ["at-once", "nightly"]


def test_a_message_that_fails_stays_in_the_queue(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.start_spread_executions.handler._TIME_FOR_A_ROUND_MS", 400_000)
    for name in ("a", "b"):
        save_job(name, spread_seconds=3600)
    stage.tick()
    stage.at_ms = NOON_MS + 3_600_000
    stage.failing = {"a"}
    bodies = [body for _, body in stage.waiting]
    with pytest.raises(TickIncomplete, match="1 spread jobs were not started"):
        stage.deliver(*bodies)
    assert started_jobs(stage) == ["b"]
    stage.failing = set()
    stage.deliver(*bodies)
    assert started_jobs(stage) == ["a", "b"]


def test_a_message_that_cannot_be_sent_again_stays_in_the_queue(stage: Stage) -> None:
    save_job(spread_seconds=3600)
    stage.tick()
    ((_, body),) = stage.waiting
    stage.refused_calls = 1
    with pytest.raises(TickIncomplete):
        stage.deliver(body)


def test_a_stage_that_spreads_no_more_starts_all_jobs_at_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPREAD", "false")
    monkeypatch.delenv("SPREAD_QUEUE_URL")
    save_job(spread_seconds=3600)
    assert stage.tick() == 1
    (started,) = stage.inputs.values()
    assert "starts_at" not in started


# How the execution begins


def spread_due() -> Due:
    return {**due(), "starts_at": iso(NOON_MS + 1_800_000)}


def test_the_record_tells_when_it_was_to_start_and_its_latency_counts_from_then() -> None:
    save_job()
    record = begin(spread_due(), NOON_MS + 1_800_500)
    assert (record["status"], record.get("starts_at")) == ("running", "2026-11-23T12:30:00Z")
    record["service_invoked_at_ms"] = NOON_MS + 1_800_700
    assert invocation_latency_ms(record) == 700


@pytest.mark.parametrize(("late_ms", "status"), [(10_000, "running"), (10_001, "skipped")])
def test_the_starting_deadline_counts_from_the_start_of_a_spread_job(late_ms: int, status: str) -> None:
    save_job(starting_deadline_seconds=10)
    assert begin(spread_due(), NOON_MS + 1_800_000 + late_ms)["status"] == status


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"enabled": False}, "job_disabled"),
        ({"schedule": "rate(7 minutes)"}, "schedule_changed"),
        ({"payload": "new"}, None),
        ({"spread_seconds": 60}, None),
    ],
)
def test_a_job_that_changes_between_the_tick_and_its_start(change: Any, code: str | None) -> None:
    save_job(at_ms=NOON_MS - 60_000, spread_seconds=3600)
    save_job(at_ms=NOON_MS + 60_000, **{"spread_seconds": 3600} | change)
    record = begin(spread_due(), NOON_MS + 1_800_000)
    assert record.get("reason", {}).get("code") == code


def test_a_job_that_was_deleted_between_the_tick_and_its_start_is_skipped() -> None:
    save_job(at_ms=NOON_MS - 60_000, spread_seconds=3600)
    changes.delete("billing", "nightly", "ann", NOON_MS + 60_000)
    save_job(at_ms=NOON_MS + 120_000, spread_seconds=3600)
    record = begin(spread_due(), NOON_MS + 1_800_000)
    assert record.get("reason", {}).get("code") == "not_active_then"
