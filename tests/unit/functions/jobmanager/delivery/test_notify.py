"""notify_service: it stores the task token before it notifies, and does not notify ended executions."""

import json
from contextlib import nullcontext
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from standardwebhooks import Webhook

from jobmanager.callbacks.token import is_genuine, split_token
from jobmanager.core.clock import now_ms
from jobmanager.core.errors import AnswerNotRecorded, NotificationUndelivered
from jobmanager.delivery import secrets as webhook_secrets
from jobmanager.delivery.notify import notify
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.record import Execution
from jobmanager.jobs import store as jobs
from tests.unit.functions.examples import NOON_MS, due, end_as, save_job, stored
from tests.unit.functions.target import Target

pytestmark = pytest.mark.usefixtures("cloud")


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The signals to tasks of Step Functions. moto does not know task tokens."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr("jobmanager.executions.task_signal.signal", sent.append)
    return sent


def begun(**fields: Any) -> dict[str, Any]:
    save_job(**fields)
    return machine_input(begin(due(), NOON_MS))


def test_the_webhook_has_every_field(target: Target) -> None:
    execution = begun(invocation_target=target.url, payload='{"foo":"bar"}', ttl_seconds=100, exclusive=True)
    notify(execution, "token-1", NOON_MS + 812)
    (body,) = target.bodies
    url = body.pop("callback_url")
    assert body == {
        "service_name": "billing",
        "job_name": "nightly",
        "job_guid": execution["job_guid"],
        "execution_id": execution["execution_id"],
        "attempt": 1,
        "async": True,
        "heartbeat_interval_seconds": 33,
        "ttl_seconds": 100,
        "payload": '{"foo":"bar"}',
        "schedule": "rate(5 minutes)",
        "scheduled_time": "2026-11-23T12:00:00Z",
        "scheduled_time_ms": NOON_MS,
        "invocation_latency_ms": 812,
        "invocation_latency_pct": 0.8,
        "exclusive": True,
        "fencing_token": 1,
        "last_successful_execution": {},
    }
    base, _, token = url.rpartition("/")
    execution_id, secret = split_token(token)
    assert base == "https://manager.example/callback"
    assert execution_id == execution["execution_id"]
    record = stored(execution)
    assert record["task_token"] == "token-1"
    assert is_genuine(secret, record["callback_hashes"])
    assert secret not in json.dumps(record)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_notification_that_the_service_postpones_is_retried_with_a_new_secret(
    target: Target, status: int
) -> None:
    target.script = [status]
    execution = begun(invocation_target=target.url)
    with pytest.raises(NotificationUndelivered, match=str(status)):
        notify(execution, "token-1", NOON_MS)
    notify(execution, "token-2", NOON_MS + 2000)
    urls = {body["callback_url"] for body in target.bodies}
    assert len(urls) == 2
    record = stored(execution)
    assert len(record["callback_hashes"]) == 2
    assert record["task_token"] == "token-2"
    assert record["status"] == "running"


def test_an_unreachable_service_is_retried() -> None:
    execution = begun(invocation_target="http://127.0.0.1:9/")
    with pytest.raises(NotificationUndelivered, match="not reached"):
        notify(execution, "token-1", NOON_MS)


@pytest.mark.parametrize("status", [400, 404, 302])
def test_any_other_answer_fails_the_execution(
    target: Target, signals: list[dict[str, Any]], status: int
) -> None:
    target.script = [status]
    execution = begun(invocation_target=target.url)
    notify(execution, "token-1", NOON_MS)
    assert len(target.bodies) == 1
    record = stored(execution)
    assert record["status"] == "fail"
    assert json.loads(record["error"]) == "Job.NotificationRejected"
    assert record["cause"] == f"the target answered HTTP {status}"
    assert [sent["status"] for sent in signals] == ["fail"]


@pytest.mark.parametrize(
    ("setting", "cause"),
    [
        ("ALLOW_LOOPBACK_TARGETS", "the target leads to a loopback address, which this stage does not call"),
        ("ALLOW_HTTP_TARGETS", "the target is not https, but this stage calls only https"),
    ],
)
def test_a_target_that_the_stage_does_not_call_fails_the_execution(
    target: Target,
    signals: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    cause: str,
) -> None:
    monkeypatch.setenv(setting, "false")
    execution = begun(invocation_target=target.url)
    notify(execution, "token-1", NOON_MS)
    assert target.bodies == []
    record = stored(execution)
    assert record["status"] == "fail"
    assert json.loads(record["error"]) == "Job.NotificationRejected"
    assert record["cause"] == cause
    assert [sent["status"] for sent in signals] == ["fail"]


@pytest.mark.parametrize("status", ["success", "fail", "cancelled"])
def test_an_execution_that_has_ended_is_not_notified(
    target: Target, signals: list[dict[str, Any]], status: str
) -> None:
    execution = begun(invocation_target=target.url)
    end_as(execution, status, {}, NOON_MS)
    notify(execution, "token-of-this-attempt", NOON_MS)
    assert target.bodies == []
    assert [(sent["status"], sent["task_token"]) for sent in signals] == [(status, "token-of-this-attempt")]


def test_a_skipped_execution_is_not_notified(target: Target, signals: list[dict[str, Any]]) -> None:
    execution = begun(invocation_target=target.url, enabled=False)
    notify(execution, "token", NOON_MS)
    assert target.bodies == []
    assert [sent["status"] for sent in signals] == ["skipped"]


def test_an_execution_that_lost_its_lock_is_not_notified(
    target: Target, signals: list[dict[str, Any]]
) -> None:
    execution = begun(invocation_target=target.url, exclusive=True, ttl_seconds=60)
    begin(due(at_ms=NOON_MS + 61_000), NOON_MS + 61_000)
    notify(execution, "token", NOON_MS + 62_000)
    assert target.bodies == []
    reason = {"code": "lock_lost", "detail": "the lock expired before the service could be notified"}
    assert [(sent["status"], sent["reason"]) for sent in signals] == [("skipped", reason)]


def test_an_execution_that_lost_its_lock_after_a_failed_notification_fails_and_is_not_skipped(
    target: Target, signals: list[dict[str, Any]]
) -> None:
    target.script = [503]
    execution = begun(invocation_target=target.url, exclusive=True, ttl_seconds=60)
    with pytest.raises(NotificationUndelivered):
        notify(execution, "token-1", NOON_MS)
    begin(due(at_ms=NOON_MS + 61_000), NOON_MS + 61_000)
    notify(execution, "token-2", NOON_MS + 62_000)
    assert len(target.bodies) == 1
    (sent,) = signals
    assert (sent["status"], json.loads(sent["error"])) == ("fail", "Manager.LockLost")
    assert sent["cause"] == "the lock expired before the notification of attempt 1 was delivered"


def test_notifying_moves_the_lock(target: Target) -> None:
    execution = begun(invocation_target=target.url, exclusive=True, ttl_seconds=60)
    notify(execution, "token", NOON_MS + 30_000)
    job = jobs.find("billing", "nightly")
    assert job is not None
    assert job["lock_expires_at"] == NOON_MS // 1000 + 90


def test_notifying_never_moves_the_lock_beyond_max_duration_seconds(target: Target) -> None:
    execution = begun(invocation_target=target.url, exclusive=True, ttl_seconds=60, max_duration_seconds=70)
    notify(execution, "token", NOON_MS + 30_000)
    job = jobs.find("billing", "nightly")
    assert job is not None
    assert job["lock_expires_at"] == stored(execution)["lock_expires_at"] == NOON_MS // 1000 + 70


def test_an_sns_notification_carries_attributes_for_filters() -> None:
    topic = boto3.client("sns").create_topic(Name="notifications")["TopicArn"]
    queue = boto3.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    arn = "arn:aws:sqs:us-east-1:123456789012:q"
    boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    execution = begun(invocation_type="sns", invocation_target=topic, payload="p")
    notify(execution, "token", NOON_MS)
    (message,) = boto3.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    envelope = json.loads(message["Body"])
    assert {name: value["Value"] for name, value in envelope["MessageAttributes"].items()} == {
        "service_name": "billing",
        "job_name": "nightly",
        "job_guid": execution["job_guid"],
    }
    assert json.loads(envelope["Message"])["payload"] == "p"


def test_a_topic_that_does_not_exist_fails_the_execution(signals: list[dict[str, Any]]) -> None:
    execution = begun(invocation_type="sns", invocation_target="arn:aws:sns:us-east-1:123456789012:not-there")
    notify(execution, "token", NOON_MS)
    assert json.loads(stored(execution)["error"]) == "Job.NotificationRejected"
    assert [sent["status"] for sent in signals] == ["fail"]


def test_every_attempt_is_signed_with_each_valid_secret_under_one_id(target: Target) -> None:
    target.script = [503]
    execution = begun(invocation_target=target.url)
    at_ms = now_ms()
    secrets = [webhook_secrets.create("billing", 60, "ann", at_ms)[0] for _ in range(2)]
    webhook_secrets.create("other", 60, "ann", at_ms)
    with pytest.raises(NotificationUndelivered):
        notify(execution, "token-1", NOON_MS)
    notify(execution, "token-2", NOON_MS)
    assert len(target.requests) == 2
    for headers, content in target.requests:
        assert headers["webhook-id"] == execution["execution_id"]
        assert len(headers["webhook-signature"].split()) == 2
        for secret in secrets:
            assert Webhook(secret).verify(content.decode(), headers) == json.loads(content)


def test_a_service_without_a_secret_gets_a_webhook_id_to_detect_duplicates(target: Target) -> None:
    execution = begun(invocation_target=target.url)
    notify(execution, "token-1", NOON_MS)
    ((headers, _),) = target.requests
    assert headers["webhook-id"] == execution["execution_id"]
    assert "webhook-signature" not in headers


def sync(target: Target, **fields: Any) -> dict[str, Any]:
    return begun(invocation_target=target.url, **{"async": False}, **fields)


@pytest.mark.parametrize(
    ("content_type", "content", "kept"),
    [
        ("application/json", b'{"state": "cursor-42", "summary": "done", "more": 1}', ("cursor-42", "done")),
        ("application/json; charset=utf-8", b'{"summary": "done"}', (None, "done")),
        ("application/json", b'{"state": null}', (None, None)),
        ("application/json", b"[1]", (None, None)),
        ("application/json", b"", (None, None)),
        ("text/html", b"<p>done", (None, None)),
        (None, b"done", (None, None)),
    ],
)
def test_the_answer_of_a_sync_job_is_its_result(
    target: Target,
    signals: list[dict[str, Any]],
    content_type: str | None,
    content: bytes,
    kept: tuple[str | None, str | None],
) -> None:
    target.content_type, target.content = content_type, content
    execution = sync(target)
    notify(execution, "token-1", NOON_MS)
    (body,) = target.bodies
    assert body["async"] is False
    assert not {"callback_url", "heartbeat_interval_seconds"} & body.keys()
    record = stored(execution)
    assert record["status"] == "success"
    assert (record.get("state"), record.get("summary")) == kept
    assert [(sent["status"], sent["task_token"]) for sent in signals] == [("success", "token-1")]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b'{"state": 42}', "state in the answer: expected string"),
        (b'{"summary": "' + b"x" * 1025 + b'"}', "summary in the answer: expected at most 1024 bytes"),
        (b'{"state": "' + b"x" * 65_537 + b'"}', "state in the answer: expected at most 65536 bytes"),
        (
            b'{"state": "' + b"\\u0001" * 30_000 + b'"}',
            "state in the answer: expected at most 131072 bytes as JSON",
        ),
        (b'{"state": "\\ud800"}', "the answer is not JSON"),
        (b"{", "the answer is not JSON"),
        (b"\xff", "the answer is not JSON"),
        (b" " * 524_289, "the answer is larger than 524288 bytes"),
    ],
)
def test_a_sync_job_with_an_invalid_answer_fails(
    target: Target, signals: list[dict[str, Any]], content: bytes, cause: str
) -> None:
    target.content = content
    execution = sync(target)
    notify(execution, "token-1", NOON_MS)
    record = stored(execution)
    assert (record["status"], json.loads(record["error"])) == ("fail", "Job.AnswerInvalid")
    assert cause in record["cause"]
    assert [sent["status"] for sent in signals] == ["fail"]


def test_a_sync_job_whose_answer_breaks_off_fails_without_a_second_call(
    target: Target, signals: list[dict[str, Any]]
) -> None:
    target.content, target.missing = b"", 900
    execution = sync(target)
    notify(execution, "token-1", NOON_MS)
    record = stored(execution)
    assert (record["status"], json.loads(record["error"])) == ("fail", "Job.AnswerInvalid")
    assert record["cause"] == "the answer broke off before its end"
    assert len(target.bodies) == 1
    assert [sent["status"] for sent in signals] == ["fail"]


class Heartbeats:
    """Records the tasks that received a heartbeat, or fails with ``error``."""

    exceptions = boto3.client("stepfunctions", "us-east-1").exceptions

    def __init__(self, error: Exception | None = None) -> None:
        self.tokens: list[str] = []
        self.error = error

    def send_task_heartbeat(self, **request: Any) -> None:
        if self.error is not None:
            raise self.error
        self.tokens.append(request["taskToken"])


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"ttl_seconds": 60}, ["token-1"]),
        ({"ttl_seconds": 300, "heartbeat_interval_seconds": 5}, ["token-1"]),
        ({"ttl_seconds": 300}, []),
        ({"ttl_seconds": 60, "async": False}, []),
    ],
)
def test_a_short_heartbeat_interval_counts_from_the_notification(
    target: Target,
    signals: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    tokens: list[str],
) -> None:
    heartbeats = Heartbeats()
    monkeypatch.setattr("jobmanager.executions.task_signal.step_functions", lambda: heartbeats)
    notify(begun(invocation_target=target.url, **fields), "token-1", NOON_MS)
    assert heartbeats.tokens == tokens


def test_a_service_is_notified_even_if_the_task_heartbeat_fails(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeats = Heartbeats(ClientError({"Error": {"Code": "ThrottlingException"}}, "SendTaskHeartbeat"))
    monkeypatch.setattr("jobmanager.executions.task_signal.step_functions", lambda: heartbeats)
    notify(begun(invocation_target=target.url, ttl_seconds=10), "token-1", NOON_MS)
    assert len(target.bodies) == 1


def test_a_sync_job_that_does_not_answer_in_time_times_out_without_a_second_call(
    target: Target, signals: list[dict[str, Any]]
) -> None:
    target.seconds = 1.5
    execution = sync(target)
    shorter = {":short": 1, ":running": "running"}
    executions.update_if(execution["execution_id"], "SET ttl_seconds = :short", "#status = :running", shorter)
    notify(execution, "token-1", NOON_MS)
    record = stored(execution)
    assert (record["status"], json.loads(record["error"])) == ("timeout", "Job.Timeout")
    assert record["cause"] == "the target did not answer within 1 seconds"
    assert [sent["status"] for sent in signals] == ["timeout"]


@pytest.mark.parametrize(("failures", "status"), [(2, "success"), (3, "running")])
def test_a_sync_job_whose_answer_cannot_be_recorded_is_not_called_again(
    target: Target,
    signals: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    failures: int,
    status: str,
) -> None:
    errors = [ClientError({"Error": {"Code": "InternalServerError"}}, "UpdateItem")] * failures

    def end_late(*arguments: Any) -> Execution | None:
        if errors:
            raise errors.pop()
        return end_attempt(*arguments)

    monkeypatch.setattr("jobmanager.delivery.notify.end_attempt", end_late)
    monkeypatch.setattr("time.sleep", lambda _: None)
    execution = sync(target)
    # The state machine does not retry after this error.
    with pytest.raises(AnswerNotRecorded) if status == "running" else nullcontext():
        notify(execution, "token-1", NOON_MS)
    assert (len(target.bodies), stored(execution)["status"]) == (1, status)


@pytest.mark.parametrize("status", [503, 429])
def test_a_sync_call_that_the_service_postpones_is_retried(target: Target, status: int) -> None:
    target.script = [status]
    execution = sync(target)
    with pytest.raises(NotificationUndelivered, match=str(status)):
        notify(execution, "token-1", NOON_MS)
    assert stored(execution)["status"] == "running"


def test_the_state_machine_waits_longer_for_a_sync_job_than_its_function_may_run(target: Target) -> None:
    execution = sync(target, ttl_seconds=10, max_duration_seconds=11, exclusive=True)
    assert execution["heartbeat_seconds"] > 90
    assert execution["max_duration_seconds"] > execution["heartbeat_seconds"]
    assert execution["ttl_seconds"] > 10
