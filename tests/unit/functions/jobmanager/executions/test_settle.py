"""finish_execution: a recorded outcome wins, and an execution releases only its own lock."""

import json
from typing import Any

import boto3
import pytest

from jobmanager.executions import settle as finishing
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.begin_or_wait import begin_to_notify
from jobmanager.executions.outcome import record_outcome
from jobmanager.executions.record import Execution
from jobmanager.executions.settle import finish_and_continue, machine_output, settle
from jobmanager.executions.view import execution_view
from jobmanager.jobs import store as jobs
from jobmanager.jobs.definition import Job
from tests.unit.functions.calls import operations
from tests.unit.functions.examples import NOON_MS, due, end_as, finish, save_job, stored

pytestmark = pytest.mark.usefixtures("cloud")
MINUTE_MS = 60_000
TIMED_OUT = {"status": "timeout", "error": "Job.HeartbeatTimeout", "cause": "no heartbeat"}


def running(at_ms: int = NOON_MS) -> dict[str, Any]:
    record = begin(due(at_ms=at_ms), at_ms)
    assert record["status"] == "running"
    notified = {":running": "running", ":at": at_ms}
    executions.update_if(
        record["execution_id"], "SET service_invoked_at_ms = :at", "#status = :running", notified
    )
    return {**due(at_ms=at_ms), "status": "running"}


def job() -> Job:
    found = jobs.find("billing", "nightly")
    assert found is not None
    return found


def test_a_success_is_settled_and_stored_on_the_job() -> None:
    save_job(exclusive=True)
    execution = running()
    record_outcome(stored(execution), "success", {"state": "cursor", "summary": "ok"}, NOON_MS + 5)
    record = finish(execution, NOON_MS + 10)
    assert machine_output(record) == {"execution_id": execution["execution_id"], "status": "success"}
    assert record["finished_at_ms"] == NOON_MS + 5
    assert "sweep_shard" not in record
    assert "task_token" not in record
    assert "lock_execution" not in job()
    assert job()["last_successful_execution"] == {
        "execution_id": execution["execution_id"],
        "scheduled_time": "2026-11-23T12:00:00Z",
        "scheduled_time_ms": NOON_MS,
        "service_invoked_at_ms": NOON_MS,
        "finished_at_ms": NOON_MS + 5,
        "fencing_token": 1,
        "state": "cursor",
        "status": "success",
        "summary": "ok",
    }
    assert "state" not in job()["last_execution"]


def test_finishing_again_changes_nothing() -> None:
    save_job(exclusive=True)
    execution = running()
    record_outcome(stored(execution), "success", {}, NOON_MS)
    first = finish(execution, NOON_MS + 10)
    before = job()
    assert finish(execution, NOON_MS + 99) == first
    assert job() == before


def test_finishing_again_publishes_and_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[str] = []
    monkeypatch.setattr(
        finishing, "publish_event", lambda record, at_ms, job: reported.append(record["status"])
    )
    monkeypatch.setattr(finishing, "count_outcome", lambda record: reported.append("counted"))
    save_job()
    execution = running()
    record_outcome(stored(execution), "success", {}, NOON_MS)
    for _ in range(2):
        finish(execution, NOON_MS + 10)
    assert reported == ["success", "counted"]


def test_an_execution_that_is_settled_twice_concurrently_is_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[Execution] = []
    monkeypatch.setattr(finishing, "count_outcome", counted.append)
    save_job()
    ended = record_outcome(stored(running()), "success", {}, NOON_MS)
    assert ended is not None
    settled = [settle(ended, NOON_MS + number) for number in range(2)]
    assert settled == [stored(ended)] * 2
    assert [(record["execution_id"], record["settled_at_ms"]) for record in counted] == [
        (ended["execution_id"], NOON_MS)
    ]


def test_settling_a_success_takes_one_read_two_writes_and_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job(exclusive=True)
    execution = running()
    record_outcome(stored(execution), "success", {"state": "s"}, NOON_MS)
    made = operations(monkeypatch)
    finish(execution, NOON_MS + 10)
    assert made == ["GetItem", "UpdateItem", "Publish", "UpdateItem"]


def test_a_run_that_stops_reporting_times_out() -> None:
    save_job(exclusive=True)
    record = finish({**running(), **TIMED_OUT}, NOON_MS + 10)
    assert machine_output(record) == {
        "execution_id": record["execution_id"],
        "status": "timeout",
        "error": "Job.HeartbeatTimeout",
        "cause": "no heartbeat",
    }
    assert "lock_execution" not in job()
    assert job()["last_execution"]["status"] == "timeout"
    assert "last_successful_execution" not in job()


def test_a_result_that_came_in_time_wins_over_a_timeout() -> None:
    save_job()
    execution = running()
    record_outcome(stored(execution), "success", {"state": "s"}, NOON_MS)
    assert finish({**execution, **TIMED_OUT}, NOON_MS + 10)["status"] == "success"


def test_a_late_finish_does_not_free_the_lock_of_another() -> None:
    save_job(exclusive=True, ttl_seconds=60)
    old = running()
    new = running(NOON_MS + MINUTE_MS)
    finish({**old, **TIMED_OUT}, NOON_MS + MINUTE_MS + 5)
    assert job()["lock_execution"] == new["execution_id"]
    assert job()["fencing_token"] == 2


def succeed(execution: dict[str, Any], state: str, at_ms: int) -> None:
    record_outcome(stored(execution), "success", {"state": state}, at_ms)
    finish(execution, at_ms)


def test_without_a_lock_the_last_execution_is_the_one_that_ended_last() -> None:
    save_job()
    old, new = running(), running(NOON_MS + MINUTE_MS)
    succeed(new, "of the newer tick", NOON_MS + MINUTE_MS + 5)
    succeed(old, "of the older tick", NOON_MS + MINUTE_MS + 9)
    assert job()["last_execution"]["execution_id"] == old["execution_id"]
    assert job()["last_successful_execution"]["state"] == "of the older tick"


def test_an_end_that_is_settled_late_replaces_no_later_one() -> None:
    save_job()
    first, second = running(), running(NOON_MS + MINUTE_MS)
    record_outcome(stored(first), "success", {"state": "first"}, NOON_MS + MINUTE_MS)
    record_outcome(stored(second), "fail", {}, NOON_MS + MINUTE_MS + 5)
    finish({**second, "status": "fail", "error": "x", "cause": "y"}, NOON_MS + MINUTE_MS + 5)
    finish(first, NOON_MS + MINUTE_MS + 9)
    assert job()["last_execution"]["execution_id"] == second["execution_id"]
    assert job()["last_successful_execution"]["execution_id"] == first["execution_id"]


def test_the_state_of_a_redriven_tick_is_kept_if_it_was_the_last_to_hold_the_lock() -> None:
    save_job(exclusive=True)
    at_ms = NOON_MS + 5 * MINUTE_MS
    succeed(running(at_ms), "2", at_ms + 10)
    begin(due(), at_ms + 20)
    assert job()["last_successful_execution"]["state"] == "2"
    succeed({**due(), "status": "running"}, "3", at_ms + 30)
    assert job()["last_successful_execution"]["state"] == "3"


def test_an_execution_that_lost_its_lock_replaces_nothing_of_the_next_holder() -> None:
    save_job(exclusive=True, ttl_seconds=60)
    first, second = running(), running(NOON_MS + MINUTE_MS)
    succeed(second, "second", NOON_MS + MINUTE_MS + 5)
    succeed(first, "first", NOON_MS + MINUTE_MS + 9)
    assert job()["last_successful_execution"]["state"] == "second"
    assert job()["last_execution"]["execution_id"] == second["execution_id"]


def test_a_skipped_execution_does_not_become_the_jobs_last_execution() -> None:
    save_job(enabled=False)
    execution = due()
    begin(execution, NOON_MS)
    record = finish({**execution, "status": "skipped"}, NOON_MS)
    assert machine_output(record)["status"] == "skipped"
    assert "last_execution" not in job()


def test_an_execution_that_never_began_is_in_the_history() -> None:
    save_job()
    failed = {"status": "fail", "error": "Manager.ExecutionNotBegun", "cause": "AwsCallFailed: throttled"}
    finish({**due(), **failed}, NOON_MS)
    record = executions.find(due()["execution_id"])
    assert record is not None
    assert (record["status"], json.loads(record["error"])) == ("fail", "Manager.ExecutionNotBegun")


def test_a_task_that_was_ended_by_hand_does_not_count_as_success() -> None:
    save_job()
    assert finish(running(), NOON_MS)["status"] == "fail"


def test_an_internal_failure_is_recorded_without_a_stack_trace() -> None:
    save_job()
    cause = json.dumps(
        {"errorMessage": "the target answered HTTP 503", "errorType": "x", "stackTrace": ["…"]}
    )
    undelivered = {**running(), "status": "fail", "error": "NotificationUndelivered", "cause": cause}
    assert machine_output(finish(undelivered, NOON_MS)) == {
        "execution_id": due()["execution_id"],
        "status": "fail",
        "error": "NotificationUndelivered",
        "cause": "the target answered HTTP 503",
    }


@pytest.mark.parametrize(
    ("error", "is_the_managers"),
    [
        ("SettingMissing", True),
        ("AnswerNotRecorded", True),
        ("KeyError", True),
        ("Runtime.ImportModuleError", True),
        ("Lambda.TooManyRequestsException", True),
        ("States.Runtime", True),
        ("NotificationUndelivered", False),
    ],
)
def test_every_error_of_the_machine_is_the_managers_fault_except_an_unreachable_service(
    capsys: pytest.CaptureFixture[str], error: str, is_the_managers: bool
) -> None:
    save_job()
    record = finish({**running(), "status": "fail", "error": error, "cause": "c"}, NOON_MS)
    assert (record["status"], record.get("fault")) == ("fail", "manager" if is_the_managers else None)
    assert execution_view(record).get("fault") == record.get("fault")
    assert ("ManagerFailed" in capsys.readouterr().out) == is_the_managers


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("fail", "Lambda.TooManyRequestsException"),
        ("fail", "Runtime.ImportModuleError"),
        ("timeout", "Job.HeartbeatTimeout"),
    ],
)
@pytest.mark.parametrize("retry", [None, {"max_attempts": 2}])
def test_an_attempt_that_was_never_notified_counts_as_a_failure_and_is_retried(
    capsys: pytest.CaptureFixture[str], status: str, error: str, retry: Any
) -> None:
    save_job(alert_after_failures=1, **({"retry": retry} if retry else {}))
    begin(due(), NOON_MS)
    reported = {**due(), "status": status, "error": error, "cause": "why"}
    record = finish(reported, NOON_MS + 1_700_000)
    ended = record["attempts"][0] if retry else record
    assert record["status"] == ("running" if retry else "fail")
    assert (ended["status"], json.loads(ended["error"])) == ("fail", "Manager.NotNotified")
    assert ended["cause"] == f"the service was not notified of attempt 1: {error}: why"
    assert ended["fault"] == "manager"
    assert "ManagerFailed" in capsys.readouterr().out
    assert "streak" not in job()


def test_a_silent_service_is_not_the_managers_fault(capsys: pytest.CaptureFixture[str]) -> None:
    save_job()
    assert "fault" not in finish({**running(), **TIMED_OUT}, NOON_MS)
    assert "ManagerFailed" not in capsys.readouterr().out


def test_a_record_is_kept_for_its_retention_after_the_end() -> None:
    save_job(max_duration_seconds=1000)
    execution = running()
    begun = executions.find(execution["execution_id"])
    assert begun is not None
    assert begun["expires_at"] == NOON_MS // 1000 + 1000 + 90 * 86_400
    record = finish({**execution, **TIMED_OUT}, NOON_MS + 500_000)
    assert record["expires_at"] == NOON_MS // 1000 + 500 + 90 * 86_400


def test_a_streak_of_failures_is_published_once(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "jobmanager.executions.failure_streak.publish",
        lambda _, event: published.append((event["event"], event["execution_id"])),
    )
    save_job(alert_after_failures=2)
    ends = []
    for number, status in enumerate(("fail", "timeout", "fail", "success", "success")):
        at_ms = NOON_MS + number * 60_000
        execution = machine_output(begin(due(at_ms=at_ms), at_ms))
        end_as(execution, status, {}, at_ms)
        finish(execution, at_ms)
        finish(execution, at_ms)
        ends.append(execution["execution_id"])
    assert published == [("job.failing", ends[1]), ("job.recovered", ends[3])]


def test_an_outcome_is_published_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    save_job(payload="secret payload")
    execution = running()
    topic = boto3.client("sns").create_topic(Name="events")["TopicArn"]
    queue = boto3.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    boto3.client("sns").subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:q"
    )
    record_outcome(stored(execution), "success", {"state": "secret state"}, NOON_MS + 5)
    finish(execution, NOON_MS + 10)
    (message,) = boto3.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    envelope = json.loads(message["Body"])
    assert envelope["MessageAttributes"]["event"]["Value"] == "execution.succeeded"
    assert json.loads(envelope["Message"])["execution_id"] == execution["execution_id"]
    printed = capsys.readouterr().out
    assert "secret" not in message["Body"] + printed
    metrics = [json.loads(line) for line in printed.splitlines() if "_aws" in line]
    assert [(line["service"], line["stage"], line["Succeeded"]) for line in metrics] == [
        ("billing", "test", [1.0])
    ]


def timed_out(**more: Any) -> Any:
    """What the state machine passes to finish_execution when the limits of a task have passed."""
    limits = {"heartbeat_seconds": 5, "timeout_seconds": 500, "max_duration_seconds": 500}
    ended = {"status": "timeout", "error": "Job.HeartbeatTimeout", "cause": "no heartbeat"}
    return {**due(), **limits, **ended, **more}


def test_a_task_that_timed_out_before_its_execution_began_begins_once_more_with_patience() -> None:
    save_job(heartbeat_interval_seconds=5)
    again = finish_and_continue(timed_out(), NOON_MS + 5000)
    assert again == {
        **due(),
        "heartbeat_seconds": 60,
        "timeout_seconds": 120,
        "max_duration_seconds": 120,
        "is_begun_again": True,
        "status": "running",
        "next_attempt_at": "2026-11-23T12:00:00Z",
    }
    ended = finish_and_continue(timed_out(**{**again, "status": "timeout"}), NOON_MS + 65_000)
    assert (ended["status"], ended["error"]) == ("fail", "Manager.ExecutionNotBegun")
    assert stored(due())["fault"] == "manager"


def test_a_task_that_timed_out_after_its_execution_began_is_a_timeout() -> None:
    save_job(heartbeat_interval_seconds=5)
    begin_to_notify(due(), {"task_token": "t", "callback_hashes": ["h"]}, NOON_MS)
    ended = finish_and_continue(timed_out(), NOON_MS + 5000)
    assert (ended["status"], ended["error"]) == ("timeout", "Job.HeartbeatTimeout")


@pytest.mark.parametrize(("ttl_seconds", "until"), [(900, 900), (902, 1)])
def test_an_outcome_moves_only_a_far_sweep(ttl_seconds: int, until: int) -> None:
    """Moving it costs two write units. It is when the sweep looks, if nobody settles the execution."""
    save_job(ttl_seconds=ttl_seconds)
    begin(due(), NOON_MS)
    end_as(due(), "success", {}, NOON_MS + (1000 if until == 1 else 0))
    record = stored(due())
    assert record["sweep_at"] == NOON_MS // 1000 + until
    assert record["lock_expires_at"] == NOON_MS // 1000 + ttl_seconds
