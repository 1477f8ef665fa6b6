"""reap_executions: ends stuck executions once, and leaves live ones alone."""

import io
import json
import threading
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from functions.reap_executions.handler import handler
from functions.receive_callback.handler import handler as callback_handler
from jobmanager.callbacks.token import hash_of
from jobmanager.core.errors import AwsCallFailed, Contended
from jobmanager.delivery.machines import StandardTask
from jobmanager.delivery.notify import notify
from jobmanager.executions import reap as reaper
from jobmanager.executions import settle as finishing
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.events import publish_event
from jobmanager.executions.machine import stop_machine
from jobmanager.executions.outcome import record_outcome
from jobmanager.executions.reap import reap
from jobmanager.executions.record import Execution
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job
from jobmanager.runtime.logs import logger
from tests.unit.functions.examples import (
    MACHINE,
    NOON_MS,
    api_event,
    due,
    end_as,
    finish,
    lambda_context,
    save_job,
)
from tests.unit.functions.machines import Machines

pytestmark = pytest.mark.usefixtures("cloud")
TTL, GRACE = 100, 60
OVERDUE_MS = NOON_MS + (TTL + GRACE + 1) * 1000
SECRET = "s" * 43


@pytest.fixture(autouse=True)
def no_task_waits(machines: Machines) -> None:
    machines.is_over = True


@pytest.fixture
def events() -> Callable[[], list[str]]:
    """Returns the names of the execution events published since the last call."""
    topic = boto3.client("sns").create_topic(Name="events")["TopicArn"]
    queue = boto3.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    arn = "arn:aws:sqs:us-east-1:123456789012:q"
    boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    def published() -> list[str]:
        messages = boto3.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        bodies = [json.loads(message["Body"]) for message in messages.get("Messages", [])]
        names = [str(body["MessageAttributes"]["event"]["Value"]) for body in bodies]
        return [name for name in names if name.startswith("execution.")]

    return published


def begun(at_ms: int = NOON_MS, **fields: Any) -> str:
    save_job(**{"exclusive": True, "ttl_seconds": TTL, **fields})
    record = begin(due(at_ms=at_ms), at_ms)
    assert record["status"] == "running"
    executions.update_if(
        record["execution_id"],
        "SET task_token = :token, callback_hashes = :hashes, service_invoked_at_ms = :at",
        "#status = :running",
        {":token": "task", ":hashes": [hash_of(SECRET)], ":at": at_ms, ":running": "running"},
    )
    return str(record["execution_id"])


def call_back(execution_id: str, body: dict[str, Any]) -> int:
    event = api_event("POST", json.dumps(body), callback_token=f"{execution_id}.{SECRET}")
    status: int = callback_handler(event, lambda_context())["statusCode"]
    return status


def run(at_ms: int = OVERDUE_MS) -> tuple[int, int]:
    answer = reap(at_ms, lambda: 300_000)
    return answer["reaped"], answer["closed"]


def stored(execution_id: str) -> Execution:
    record = executions.find(execution_id)
    assert record is not None
    return record


def is_locked() -> bool:
    return "lock_execution" in jobs.read("billing", "nightly")


def at(monkeypatch: pytest.MonkeyPatch, at_ms: int) -> None:
    monkeypatch.setattr("functions.receive_callback.handler.now_ms", lambda: at_ms)


def test_a_silent_execution_times_out(
    machines: Machines, events: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    execution_id = begun()
    assert run() == (1, 0)
    record = stored(execution_id)
    assert (record["status"], json.loads(record["error"])) == ("timeout", "Job.HeartbeatTimeout")
    assert record["cause"] == "no heartbeat and no result until 2026-11-23T12:01:40Z; reaped"
    assert (record["settled_at_ms"], "sweep_shard" in record, is_locked()) == (OVERDUE_MS, False, False)
    assert machines.stopped == [
        {
            "executionArn": f"{MACHINE.replace(':stateMachine:', ':execution:')}:{execution_id}",
            "error": "Job.HeartbeatTimeout",
            "cause": record["cause"],
        }
    ]
    assert events() == ["execution.timed_out"]
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert [line["Reaped"] for line in metrics if "Reaped" in line] == [[1.0]]
    assert [line["TimedOut"] for line in metrics if "TimedOut" in line] == [[1.0]]
    assert jobs.read("billing", "nightly")["last_execution"]["status"] == "timeout"
    assert run(OVERDUE_MS + 1000) == (0, 0)
    assert events() == []


def test_an_execution_overdue_by_less_than_the_grace_is_left_to_step_functions(machines: Machines) -> None:
    execution_id = begun()
    assert run(NOON_MS + (TTL + GRACE) * 1000) == (0, 0)
    assert (stored(execution_id)["status"], machines.stopped) == ("running", [])


@pytest.mark.parametrize("is_notified", [False, True])
def test_an_execution_without_a_heartbeat_is_left_to_its_running_state_machine(
    machines: Machines, is_notified: bool
) -> None:
    """It may be waiting for capacity of Lambda, or between two deliveries."""
    if is_notified:
        execution_id = begun()
    else:
        save_job(exclusive=True, ttl_seconds=TTL)
        execution_id = begin(due(), NOON_MS)["execution_id"]
    machines.is_running = True
    assert run(NOON_MS + 3_600_000) == (0, 0)
    assert (stored(execution_id)["status"], machines.stopped) == ("running", [])
    machines.is_running = False
    assert run(NOON_MS + 3_600_000) == (1, 0)
    assert not is_locked()


def test_an_execution_that_was_never_notified_is_the_managers_failure(
    machines: Machines, events: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    save_job(exclusive=True, ttl_seconds=TTL, alert_after_failures=1, retry={"max_attempts": 2})
    execution_id = begin(due(), NOON_MS)["execution_id"]
    assert run() == (1, 0)
    record = stored(execution_id)
    assert (record["status"], json.loads(record["error"])) == ("fail", "Manager.NotNotified")
    assert record["cause"] == (
        "the service was not notified of attempt 1: its state machine does not run; reaped"
    )
    assert (record["fault"], is_locked(), events()) == ("manager", False, ["execution.failed"])
    assert "ManagerFailed" in capsys.readouterr().out
    assert "streak" not in jobs.read("billing", "nightly")


@pytest.mark.parametrize("refusal", ["ExecutionDoesNotExist", "ValidationException"])
def test_an_execution_whose_machine_no_longer_runs_times_out_too(machines: Machines, refusal: str) -> None:
    machines.refusal = getattr(machines.exceptions, refusal)
    execution_id = begun()
    assert run() == (1, 0)
    assert "settled_at_ms" in stored(execution_id)
    assert not is_locked()


def test_heartbeats_do_not_extend_an_execution_beyond_max_duration_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    execution_id = begun(max_duration_seconds=250)
    for seconds in (90, 180, 260):
        at(monkeypatch, NOON_MS + seconds * 1000)
        assert call_back(execution_id, {"status": "processing"}) == 200
    assert stored(execution_id)["lock_expires_at"] == NOON_MS // 1000 + 250
    assert jobs.read("billing", "nightly")["lock_expires_at"] == NOON_MS // 1000 + 250
    assert run(NOON_MS + 311_000) == (1, 0)
    record = stored(execution_id)
    assert json.loads(record["error"]) == "Job.Timeout"
    assert record["cause"] == "no result within max_duration_seconds, 250 seconds; reaped"


def test_a_shorter_deadline_that_the_service_asked_for_is_kept(
    monkeypatch: pytest.MonkeyPatch, machines: Machines
) -> None:
    execution_id = begun()
    at(monkeypatch, NOON_MS + 1000)
    assert call_back(execution_id, {"status": "processing", "extend_seconds": 5}) == 200
    machines.is_running = True
    assert run(NOON_MS + (6 + GRACE) * 1000) == (0, 0)
    assert run(NOON_MS + (7 + GRACE) * 1000) == (1, 0)


def test_a_late_callback_of_a_reaped_execution_is_410(monkeypatch: pytest.MonkeyPatch) -> None:
    execution_id = begun()
    run()
    at(monkeypatch, OVERDUE_MS + 1)
    for body in ({"status": "processing"}, {"status": "success", "state": "late"}):
        assert call_back(execution_id, body) == 410
    assert "state" not in stored(execution_id)


def test_an_execution_reaped_before_its_notification_is_not_notified(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr("jobmanager.delivery.notify.send", lambda *arguments: sent.append(arguments))
    record = stored(begun())
    run()
    notify(record, StandardTask("token"), OVERDUE_MS + 1)
    assert sent == []


class BetweenReadAndWrite:
    """Runs an action after the reaper has read a record and before it writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
        self.action: Callable[[], object] | None = action
        self.end_attempt = end_attempt
        monkeypatch.setattr(reaper, "end_attempt", self)

    def __call__(self, *arguments: Any) -> Execution | None:
        action, self.action = self.action, None
        assert action is not None
        action()
        return self.end_attempt(*arguments)


def test_a_result_that_arrives_between_the_reapers_read_and_write_wins(
    monkeypatch: pytest.MonkeyPatch, machines: Machines
) -> None:
    execution_id = begun()
    at(monkeypatch, OVERDUE_MS)
    BetweenReadAndWrite(monkeypatch, lambda: call_back(execution_id, {"status": "success", "state": "s"}))
    assert run() == (0, 0)
    assert (stored(execution_id)["status"], machines.stopped) == ("success", [])


def test_a_heartbeat_that_arrives_between_the_reapers_read_and_write_wins(
    monkeypatch: pytest.MonkeyPatch, machines: Machines
) -> None:
    execution_id = begun()
    at(monkeypatch, OVERDUE_MS)
    BetweenReadAndWrite(monkeypatch, lambda: call_back(execution_id, {"status": "processing"}))
    assert run() == (0, 0)
    assert (stored(execution_id)["status"], machines.stopped, is_locked()) == ("running", [], True)


def test_only_one_of_two_concurrent_reapers_ends_an_execution(
    monkeypatch: pytest.MonkeyPatch, events: Callable[[], list[str]]
) -> None:
    begun()
    other: list[tuple[int, int]] = []

    def the_other() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(reaper, "end_attempt", end_attempt)
            other.append(run())

    BetweenReadAndWrite(monkeypatch, the_other)
    assert run() == (0, 0)
    assert other == [(1, 0)]
    assert events() == ["execution.timed_out"]


def test_a_recorded_outcome_that_was_not_settled_is_settled(
    machines: Machines, events: Callable[[], list[str]]
) -> None:
    execution_id = begun()
    record_outcome(stored(execution_id), "success", {"state": "kept"}, NOON_MS + 5000)
    assert run() == (0, 1)
    record = stored(execution_id)
    assert (record["status"], record["settled_at_ms"]) == ("success", OVERDUE_MS)
    assert [request["error"] for request in machines.stopped] == ["Manager.ExecutionNotFinished"]
    assert jobs.read("billing", "nightly")["last_successful_execution"]["state"] == "kept"
    assert (events(), is_locked()) == (["execution.succeeded"], False)


def test_a_recent_outcome_is_left_to_finish_execution(machines: Machines) -> None:
    execution_id = begun()
    record_outcome(stored(execution_id), "success", {}, OVERDUE_MS - GRACE * 1000)
    assert run() == (0, 0)
    assert machines.stopped == []
    assert run(OVERDUE_MS + 1000) == (0, 1)


@pytest.mark.parametrize("status", ["success", "fail", "cancelled"])
def test_an_ended_execution_does_not_keep_its_lock_until_its_old_deadline(status: str) -> None:
    execution_id = begun(ttl_seconds=43_200)
    end_as({"execution_id": execution_id}, status, {}, NOON_MS + 5000)
    assert run(NOON_MS + (5 + GRACE + 1) * 1000) == (0, 1)
    assert not is_locked()


def test_an_execution_that_times_out_keeps_its_deadline_in_the_record() -> None:
    execution_id = begun()
    deadline = stored(execution_id)["lock_expires_at"]
    assert run() == (1, 0)
    assert stored(execution_id)["lock_expires_at"] == deadline


def test_a_cancelled_execution_without_a_machine_stays_open_until_the_reaper_closes_it(
    machines: Machines, events: Callable[[], list[str]]
) -> None:
    machines.refusal = machines.exceptions.ExecutionDoesNotExist
    execution_id = begun()
    record_outcome(stored(execution_id), "cancelled", {"cause": "by ann"}, NOON_MS + 5000)
    assert (stored(execution_id)["status"], is_locked(), events()) == ("cancelled", True, [])
    assert run() == (0, 1)
    assert (is_locked(), events()) == (False, ["execution.cancelled"])
    assert "sweep_shard" not in stored(execution_id)


@pytest.mark.parametrize("broken", ["record_last_execution", "publish_event", "_close"])
@pytest.mark.parametrize("status", ["success", "timeout"])
def test_the_reaper_completes_a_finish_that_died_at_any_step(
    monkeypatch: pytest.MonkeyPatch, events: Callable[[], list[str]], broken: str, status: str
) -> None:
    execution_id = begun()
    execution = {**due(), "status": "running"}
    if status == "success":
        record_outcome(stored(execution_id), "success", {}, NOON_MS + 5000)
    else:
        execution |= {"status": "timeout", "error": "Job.HeartbeatTimeout", "cause": "silence"}

    def die(*arguments: Any) -> None:
        raise RuntimeError("died")

    with monkeypatch.context() as patched:
        patched.setattr(f"jobmanager.executions.settle.{broken}", die)
        with pytest.raises(RuntimeError):
            finish(execution, NOON_MS + 5000)
    assert "settled_at_ms" not in stored(execution_id)
    assert run() == (0, 1)
    record = stored(execution_id)
    assert (record["status"], "sweep_shard" in record, is_locked()) == (status, False, False)
    assert set(events()) == {"execution.succeeded" if status == "success" else "execution.timed_out"}


def test_an_execution_that_never_began_stays_open_until_its_event_is_published(
    monkeypatch: pytest.MonkeyPatch, events: Callable[[], list[str]]
) -> None:
    save_job()
    failed = {**due(), "status": "fail", "error": "Manager.ExecutionNotBegun", "cause": "throttled"}
    monkeypatch.setenv("EVENTS_TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:not-there")
    with pytest.raises(Exception, match="NotFound"):
        finish(failed, NOON_MS)
    monkeypatch.setenv("EVENTS_TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:events")
    assert run() == (0, 1)
    assert events() == ["execution.failed"]
    assert stored(due()["execution_id"])["status"] == "fail"


def test_the_next_reaper_completes_what_a_reaper_that_died_left(
    monkeypatch: pytest.MonkeyPatch, events: Callable[[], list[str]]
) -> None:
    execution_id = begun()

    def die(*arguments: Any) -> None:
        raise RuntimeError("died")

    with monkeypatch.context() as patched:
        patched.setattr(reaper, "stop_machine", die)
        with pytest.raises(AwsCallFailed, match="1 overdue"):
            run()
    assert (stored(execution_id)["status"], is_locked(), events()) == ("timeout", True, [])
    assert run(OVERDUE_MS + (GRACE + 1) * 1000) == (0, 1)
    assert (is_locked(), events()) == (False, ["execution.timed_out"])


@pytest.mark.parametrize("how", ["refused", "contended"])
def test_an_execution_that_cannot_be_ended_does_not_stop_the_others_and_is_reported(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    save_job(ttl_seconds=TTL)
    ids = [begin(due(at_ms=NOON_MS + n * 1000), NOON_MS)["execution_id"] for n in range(3)]
    publish = publish_event

    def refuse_one(record: Execution, at_ms: int, job: Job | None) -> None:
        if record["execution_id"] == ids[1] and how == "contended":
            raise Contended("Others keep counting.")
        if record["execution_id"] == ids[1]:
            boto3.client("sns").publish(TopicArn="arn:aws:sns:us-east-1:123456789012:not-there", Message="x")
        publish(record, at_ms, job)

    with monkeypatch.context() as patched:
        patched.setattr(finishing, "publish_event", refuse_one)
        with pytest.raises(AwsCallFailed, match="1 overdue"):
            run()
    assert ["settled_at_ms" in stored(execution_id) for execution_id in ids] == [True, False, True]
    assert run(OVERDUE_MS + (GRACE + 1) * 1000) == (0, 1)


def test_the_reaper_reads_all_pages_of_all_shards_while_it_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executions, "_DUE_PER_READ", 2)
    save_job(ttl_seconds=TTL)
    for n in range(12):
        begin(due(at_ms=NOON_MS + n * 1000), NOON_MS)
    monkeypatch.setattr(reaper, "_AT_ONCE", 5)
    time_left = iter([300_000, 1000])
    assert reap(OVERDUE_MS, lambda: next(time_left)) == {
        "reaped": 5,
        "retried": 0,
        "closed": 0,
        "restarted": 0,
    }
    assert run() == (7, 0)


def test_a_malformed_record_does_not_stop_the_others_and_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", logged)
    save_job(ttl_seconds=TTL)
    ids = [begin(due(at_ms=NOON_MS + n * 1000), NOON_MS)["execution_id"] for n in range(6)]
    for odd, removed in ((ids[0], "service_name"), (ids[3], "job_name")):
        executions.update_if(odd, f"REMOVE {removed}", "#status = :running", {":running": "running"})
    with pytest.raises(AwsCallFailed, match="2 overdue"):
        run()
    assert ["settled_at_ms" in stored(each) for each in ids] == [False, True, True, False, True, True]
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    reported = {
        line["execution_id"] for line in lines if line.get("message") == "overdue execution was not ended"
    }
    assert reported == {ids[0], ids[3]}
    finished = [line for line in lines if line.get("message") == "execution finished"]
    assert {line["execution_id"] for line in finished} == set(ids) - reported
    assert {line["job_name"] for line in finished} == {"nightly"}


def test_no_shard_always_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def note(**query: Any) -> list[Any]:
        read.append(query["ExpressionAttributeValues"][":shard"]["S"])
        return []

    monkeypatch.setattr("jobmanager.aws.tables.query_pages", note)
    for _ in range(100):
        list(executions.due_for_sweep(0))
    shards = {f"sweep#{number}" for number in range(4)}
    assert {read[start] for start in range(0, len(read), 8)} == shards
    assert set(read[:8:2]) == shards
    assert set(read[1:8:2]) == {f"open#{number}" for number in range(4)}


def test_several_executions_are_ended_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job(ttl_seconds=TTL)
    for n in range(2):
        begin(due(at_ms=NOON_MS + n * 1000), NOON_MS)
    both_are_here = threading.Barrier(2)

    def meet(ended: Execution, *said: str) -> None:
        both_are_here.wait(timeout=60)
        stop_machine(ended, *said)

    monkeypatch.setattr(reaper, "stop_machine", meet)
    assert run() == (2, 0)


def test_the_rules_own_event_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    begun()
    monkeypatch.setattr("functions.reap_executions.handler.now_ms", lambda: OVERDUE_MS)
    event = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
    assert handler(event, lambda_context()) == {
        "reaped": 1,
        "retried": 0,
        "closed": 0,
        "restarted": 0,
        "told": 0,
    }


def test_a_skipped_execution_that_the_version_before_left_open_is_published_and_closed(
    events: Callable[[], list[str]],
) -> None:
    save_job(enabled=False)
    execution_id = begin(due(), NOON_MS)["execution_id"]
    assert "settled_at_ms" in stored(execution_id)
    executions.update_if(
        execution_id,
        "SET open_shard = :shard, lock_expires_at = :at REMOVE settled_at_ms",
        "#status = :skipped",
        {":shard": "open#0", ":at": NOON_MS // 1000, ":skipped": "skipped"},
    )
    assert run(NOON_MS + GRACE * 1000) == (0, 0)
    assert events() == []
    assert run(NOON_MS + (GRACE + 1) * 1000) == (0, 1)
    assert events() == ["execution.skipped"]
    assert run(NOON_MS + (GRACE + 1) * 1000) == (0, 0)
