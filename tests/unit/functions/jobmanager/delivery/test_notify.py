"""notify_service: it stores the task token before it notifies, and does not notify ended executions."""

import gzip
import json
import time
from contextlib import nullcontext
from email.utils import formatdate
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from standardwebhooks import Webhook

from functions.receive_callback.handler import handler as receive_callback
from jobmanager.callbacks.token import is_genuine, split_token
from jobmanager.core.clock import ms_of_iso, now_ms
from jobmanager.core.errors import AnswerNotRecorded, NotificationUndelivered
from jobmanager.delivery import secrets as webhook_secrets
from jobmanager.delivery.machines import StandardTask
from jobmanager.delivery.notify import notify, run
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.executions.end_attempt import end_attempt
from jobmanager.executions.machine_input import machine_input
from jobmanager.executions.record import Execution
from jobmanager.executions.settle import machine_output
from jobmanager.executions.time_limits import task_limits
from jobmanager.jobs import store as jobs
from tests.unit.functions.examples import (
    NOON_MS,
    api_event,
    due,
    end_as,
    finish,
    lambda_context,
    save_job,
    stored,
)
from tests.unit.functions.target import Target, Wire

pytestmark = pytest.mark.usefixtures("cloud", "machines")


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The signals to tasks of Step Functions. moto does not know task tokens."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr("jobmanager.executions.end_task.signal", sent.append)
    return sent


def begun(**fields: Any) -> dict[str, Any]:
    save_job(**fields)
    return machine_input(begin(due(), NOON_MS))


def test_the_webhook_has_every_field(target: Target) -> None:
    execution = begun(invocation_target=target.url, payload='{"foo":"bar"}', ttl_seconds=100, exclusive=True)
    notify(execution, StandardTask("token-1"), NOON_MS + 812)
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
        notify(execution, StandardTask("token-1"), NOON_MS)
    notify(execution, StandardTask("token-2"), NOON_MS + 2000)
    urls = {body["callback_url"] for body in target.bodies}
    assert len(urls) == 2
    record = stored(execution)
    assert len(record["callback_hashes"]) == 2
    assert record["task_token"] == "token-2"
    assert record["status"] == "running"


def test_an_unreachable_service_is_retried() -> None:
    execution = begun(invocation_target="http://127.0.0.1:9/")
    with pytest.raises(NotificationUndelivered, match="not reached"):
        notify(execution, StandardTask("token-1"), NOON_MS)


def heartbeat(target: Target) -> None:
    """Sends the heartbeat of a service that got the notification, although its gateway answers 504."""
    token = target.bodies[-1]["callback_url"].rpartition("/")[2]
    event = api_event("POST", '{"status": "processing"}', callback_token=token)
    assert receive_callback(event, lambda_context())["statusCode"] == 200


@pytest.fixture
def gateway(target: Target, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A target that answers 504 to everything. Step Functions accepts heartbeats."""
    target.script = [504] * 9
    monkeypatch.setattr("jobmanager.executions.task_signal.step_functions", Heartbeats)
    monkeypatch.setattr("functions.receive_callback.handler.now_ms", lambda: NOON_MS + 1000)
    return target


def test_a_heartbeat_during_a_gateways_504_counts_as_a_delivery(
    gateway: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send_and_receive_a_heartbeat(record: Execution, body: dict[str, Any]) -> None:
        gateway.bodies.append(body)
        heartbeat(gateway)
        raise NotificationUndelivered("the target answered HTTP 504")

    monkeypatch.setattr("jobmanager.delivery.notify.send", send_and_receive_a_heartbeat)
    execution = begun(invocation_target=gateway.url)
    notify(execution, StandardTask("token-1"), NOON_MS)
    assert (stored(execution)["status"], stored(execution)["task_token"]) == ("running", "token-1")


def test_after_a_heartbeat_the_next_try_sends_nothing_and_waits_under_its_own_token(gateway: Target) -> None:
    execution = begun(invocation_target=gateway.url, exclusive=True)
    with pytest.raises(NotificationUndelivered):
        notify(execution, StandardTask("token-1"), NOON_MS)
    heartbeat(gateway)
    before = stored(execution)
    notify(execution, StandardTask("token-2"), NOON_MS + 2000)
    assert len(gateway.bodies) == 1
    assert stored(execution) == {**before, "task_token": "token-2"}


def test_a_delivery_that_a_heartbeat_proves_is_waited_for_and_its_success_accepted(
    gateway: Target, signals: list[dict[str, Any]]
) -> None:
    execution = begun(invocation_target=gateway.url)
    with pytest.raises(NotificationUndelivered):
        notify(execution, StandardTask("token-1"), NOON_MS)
    heartbeat(gateway)
    undelivered = {"status": "fail", "error": "NotificationUndelivered", "cause": "HTTP 504"}
    again = machine_output(finish({**execution, **undelivered}, NOON_MS + 2000))
    assert (again["status"], again["attempt"]) == ("running", 1)
    assert again["next_attempt_at"] <= "2026-11-23T12:00:02Z"
    notify(again, StandardTask("token-2"), NOON_MS + 3000)
    assert len(gateway.bodies) == 1
    token = gateway.bodies[0]["callback_url"].rpartition("/")[2]
    event = api_event("POST", '{"status": "success", "state": "s"}', callback_token=token)
    assert receive_callback(event, lambda_context())["statusCode"] == 200
    assert (stored(execution)["status"], stored(execution)["state"]) == ("success", "s")
    assert [sent["task_token"] for sent in signals] == ["token-2"]


def test_a_heartbeat_between_read_and_write_wins_over_the_end_as_undelivered(
    gateway: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = begun(invocation_target=gateway.url, retry={"max_attempts": 2})
    with pytest.raises(NotificationUndelivered):
        notify(execution, StandardTask("token-1"), NOON_MS)

    def end_late(*arguments: Any, **options: Any) -> Execution | None:
        heartbeat(gateway)
        return end_attempt(*arguments, **options)

    monkeypatch.setattr("jobmanager.executions.settle.end_attempt", end_late)
    undelivered = {"status": "fail", "error": "NotificationUndelivered", "cause": "HTTP 504"}
    assert finish({**execution, **undelivered}, NOON_MS + 2000)["status"] == "running"
    assert "attempts" not in stored(execution)


def test_a_heartbeat_of_an_earlier_attempt_does_not_prove_the_delivery_of_the_next(gateway: Target) -> None:
    execution = begun(invocation_target=gateway.url, retry={"max_attempts": 2})
    with pytest.raises(NotificationUndelivered):
        notify(execution, StandardTask("token-1"), NOON_MS)
    heartbeat(gateway)
    ended = end_attempt(stored(execution), "fail", {}, NOON_MS + 2000)
    assert ended is not None
    with pytest.raises(NotificationUndelivered):
        notify(machine_input(ended), StandardTask("token-2"), NOON_MS + 62_000)
    assert [body["attempt"] for body in gateway.bodies] == [1, 2]


@pytest.mark.parametrize("status", [400, 404, 302])
def test_any_other_answer_fails_the_execution(
    target: Target, signals: list[dict[str, Any]], status: int
) -> None:
    target.script = [status]
    execution = begun(invocation_target=target.url)
    notify(execution, StandardTask("token-1"), NOON_MS)
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
    notify(execution, StandardTask("token-1"), NOON_MS)
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
    notify(execution, StandardTask("token-of-this-attempt"), NOON_MS)
    assert target.bodies == []
    assert [(sent["status"], sent["task_token"]) for sent in signals] == [(status, "token-of-this-attempt")]


def test_a_skipped_execution_is_not_notified(target: Target, signals: list[dict[str, Any]]) -> None:
    execution = begun(invocation_target=target.url, enabled=False)
    notify(execution, StandardTask("token"), NOON_MS)
    assert target.bodies == []
    assert [sent["status"] for sent in signals] == ["skipped"]


def test_an_execution_that_lost_its_lock_is_not_notified(
    target: Target, signals: list[dict[str, Any]]
) -> None:
    execution = begun(invocation_target=target.url, exclusive=True, ttl_seconds=60)
    begin(due(at_ms=NOON_MS + 61_000), NOON_MS + 61_000)
    notify(execution, StandardTask("token"), NOON_MS + 62_000)
    assert target.bodies == []
    reason = {"code": "lock_lost", "detail": "the lock expired before the service could be notified"}
    assert [(sent["status"], sent["reason"]) for sent in signals] == [("skipped", reason)]


def test_an_execution_that_lost_its_lock_after_a_failed_notification_fails_and_is_not_skipped(
    target: Target, signals: list[dict[str, Any]]
) -> None:
    target.script = [503]
    execution = begun(invocation_target=target.url, exclusive=True, ttl_seconds=60)
    with pytest.raises(NotificationUndelivered):
        notify(execution, StandardTask("token-1"), NOON_MS)
    begin(due(at_ms=NOON_MS + 61_000), NOON_MS + 61_000)
    notify(execution, StandardTask("token-2"), NOON_MS + 62_000)
    assert len(target.bodies) == 1
    (sent,) = signals
    assert (sent["status"], json.loads(sent["error"])) == ("fail", "Manager.LockLost")
    assert sent["cause"] == "the lock expired before the notification of attempt 1 was delivered"


def test_notifying_moves_the_lock(target: Target) -> None:
    execution = begun(invocation_target=target.url, exclusive=True, ttl_seconds=60)
    notify(execution, StandardTask("token"), NOON_MS + 30_000)
    job = jobs.find("billing", "nightly")
    assert job is not None
    assert job["lock_expires_at"] == NOON_MS // 1000 + 90


def test_notifying_never_moves_the_lock_beyond_max_duration_seconds(target: Target) -> None:
    execution = begun(invocation_target=target.url, exclusive=True, ttl_seconds=60, max_duration_seconds=70)
    notify(execution, StandardTask("token"), NOON_MS + 30_000)
    job = jobs.find("billing", "nightly")
    assert job is not None
    assert job["lock_expires_at"] == stored(execution)["lock_expires_at"] == NOON_MS // 1000 + 70


def test_an_sns_notification_carries_attributes_for_filters() -> None:
    topic = boto3.client("sns").create_topic(Name="notifications")["TopicArn"]
    queue = boto3.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    arn = "arn:aws:sqs:us-east-1:123456789012:q"
    boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    execution = begun(invocation_type="sns", invocation_target=topic, payload="p")
    notify(execution, StandardTask("token"), NOON_MS)
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
    notify(execution, StandardTask("token"), NOON_MS)
    assert json.loads(stored(execution)["error"]) == "Job.NotificationRejected"
    assert [sent["status"] for sent in signals] == ["fail"]


def test_every_attempt_is_signed_with_each_valid_secret_under_one_id(target: Target) -> None:
    target.script = [503]
    execution = begun(invocation_target=target.url)
    at_ms = now_ms()
    secrets = [webhook_secrets.create("billing", 60, "ann", at_ms)[0] for _ in range(2)]
    webhook_secrets.create("other", 60, "ann", at_ms)
    with pytest.raises(NotificationUndelivered):
        notify(execution, StandardTask("token-1"), NOON_MS)
    notify(execution, StandardTask("token-2"), NOON_MS)
    assert len(target.requests) == 2
    for headers, content in target.requests:
        assert headers["webhook-id"] == execution["execution_id"]
        assert len(headers["webhook-signature"].split()) == 2
        for secret in secrets:
            assert Webhook(secret).verify(content.decode(), headers) == json.loads(content)


def test_a_service_without_a_secret_gets_a_webhook_id_to_detect_duplicates(target: Target) -> None:
    execution = begun(invocation_target=target.url)
    notify(execution, StandardTask("token-1"), NOON_MS)
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
    notify(execution, StandardTask("token-1"), NOON_MS)
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
        (b"\xff", "the answer was not read: it is neither in UTF-8 nor in a charset that it names"),
        (b" " * 524_289, "the answer was not read: it is larger than 524288 bytes"),
    ],
)
def test_a_sync_job_with_an_invalid_answer_fails(
    target: Target, signals: list[dict[str, Any]], content: bytes, cause: str
) -> None:
    target.content = content
    execution = sync(target)
    notify(execution, StandardTask("token-1"), NOON_MS)
    record = stored(execution)
    assert (record["status"], json.loads(record["error"])) == ("fail", "Job.AnswerInvalid")
    assert cause in record["cause"]
    assert [sent["status"] for sent in signals] == ["fail"]


def test_a_sync_job_whose_answer_breaks_off_fails_without_a_second_call(
    target: Target, signals: list[dict[str, Any]]
) -> None:
    target.content, target.missing = b"", 900
    execution = sync(target)
    notify(execution, StandardTask("token-1"), NOON_MS)
    record = stored(execution)
    assert (record["status"], json.loads(record["error"])) == ("fail", "Job.AnswerInvalid")
    assert record["cause"] == "the answer was not read: it broke off before its end"
    assert len(target.bodies) == 1
    assert [sent["status"] for sent in signals] == ["fail"]


class Heartbeats:
    """Records the tasks that received a heartbeat, or fails with ``error``."""

    exceptions = boto3.client("stepfunctions", "us-east-1").exceptions

    def __init__(self, error: Exception | None = None) -> None:
        self.tokens: list[str] = []
        self.error = error

    def send_task_success(self, **request: Any) -> None:
        self.tokens.append(request["taskToken"])

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
    save_job(invocation_target=target.url, **fields)
    run({**due(), **task_limits(jobs.read("billing", "nightly"))}, StandardTask("token-1"), NOON_MS)
    assert heartbeats.tokens[: len(tokens) + 1] == tokens


def test_a_service_is_notified_even_if_the_task_heartbeat_fails(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeats = Heartbeats(ClientError({"Error": {"Code": "ThrottlingException"}}, "SendTaskHeartbeat"))
    monkeypatch.setattr("jobmanager.executions.task_signal.step_functions", lambda: heartbeats)
    notify(begun(invocation_target=target.url, ttl_seconds=10), StandardTask("token-1"), NOON_MS)
    assert len(target.bodies) == 1


def test_a_sync_job_that_does_not_answer_in_time_times_out_without_a_second_call(
    target: Target, signals: list[dict[str, Any]]
) -> None:
    target.seconds = 60
    execution = sync(target)
    shorter = {":short": 1, ":running": "running"}
    executions.update_if(execution["execution_id"], "SET ttl_seconds = :short", "#status = :running", shorter)
    notify(execution, StandardTask("token-1"), NOON_MS)
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
        notify(execution, StandardTask("token-1"), NOON_MS)
    assert (len(target.bodies), stored(execution)["status"]) == (1, status)


@pytest.mark.parametrize("status", [503, 429])
def test_a_sync_call_that_the_service_postpones_is_retried(target: Target, status: int) -> None:
    target.script = [status]
    execution = sync(target)
    with pytest.raises(NotificationUndelivered, match=str(status)):
        notify(execution, StandardTask("token-1"), NOON_MS)
    assert stored(execution)["status"] == "running"


def test_the_state_machine_waits_longer_for_a_sync_job_than_its_function_may_run(target: Target) -> None:
    execution = sync(target, ttl_seconds=10, max_duration_seconds=11, exclusive=True)
    assert execution["heartbeat_seconds"] > 90
    assert execution["max_duration_seconds"] > execution["heartbeat_seconds"]
    assert execution["ttl_seconds"] > 10


def begun_now(**fields: Any) -> dict[str, Any]:
    """An execution that begins now by the real clock, so that it has time left. Retry-After may be a date."""
    save_job(**fields)
    return machine_input(begin(due(at_ms=now_ms()), now_ms()))


def ok(*headers: bytes, content: bytes = b'{"state": "cursor-42"}') -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", *headers, b"", content))


JSON = b"Content-Type: application/json"
# Answers of a service that has done its work, each with the stored state, or the reason why there is none.
DONE: dict[str, tuple[list[bytes | float], str]] = {
    "after an interim answer": (
        [b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", 0.05, ok(JSON)],
        "cursor-42",
    ),
    "with 150 header lines": ([ok(JSON, *[b"X-Line: y"] * 150)], "cursor-42"),
    "with a header line of 70 KB": ([ok(b"X-Line: " + b"y" * 70_000, JSON)], "cursor-42"),
    "with a byte order mark": ([ok(JSON, content=b'\xef\xbb\xbf{"state": "cursor-42"}')], "cursor-42"),
    "as text/json": ([ok(b"Content-Type: text/json")], "cursor-42"),
    "as a page": ([ok(b"Content-Type: text/html; charset=utf-8")], "cursor-42"),
    "without a type": ([ok()], "cursor-42"),
    "compressed": (
        [ok(JSON, b"Content-Encoding: gzip", content=gzip.compress(b'{"state": "cursor-42"}'))],
        "cursor-42",
    ),
    "compressed by brotli": (
        [ok(JSON, b"Content-Encoding: br")],
        "its Content-Encoding is neither gzip nor deflate",
    ),
    "compressed in transfer": (
        [ok(JSON, b"Transfer-Encoding: gzip, chunked")],
        "its Transfer-Encoding is another than chunked",
    ),
    "with a malformed header": ([ok(JSON, b"no header")], "its headers are not as HTTP/1.1 has them"),
    "and no more than its status line": ([b"HTTP/1.1 200 OK\r\n"], "it broke off before its end"),
}


@pytest.mark.parametrize(("says", "expected"), DONE.values(), ids=DONE)
def test_a_service_that_has_done_its_work_is_not_notified_again_whatever_its_answer(
    signals: list[dict[str, Any]], says: list[bytes | float], expected: str
) -> None:
    retry = {"max_attempts": 3, "on": ["fail", "timeout"]}
    with Wire(says) as wire:
        execution = begun_now(invocation_target=wire.url, ttl_seconds=10, retry=retry, **{"async": False})
        notify(execution, StandardTask("token-1"), now_ms())
        assert len(wire.requests) == 1
    record = stored(execution)
    assert "attempts" not in record
    if expected == "cursor-42":
        assert (record["status"], record.get("state")) == ("success", "cursor-42")
    else:
        assert (record["status"], json.loads(record["error"])) == ("fail", "Job.AnswerInvalid")
        assert record["cause"] == f"the answer was not read: {expected}"
    assert [sent["status"] for sent in signals] == [record["status"]]


@pytest.mark.parametrize("says", [says for says, _ in DONE.values()], ids=DONE)
def test_a_service_that_accepted_a_job_is_not_notified_again_whatever_its_answer(
    signals: list[dict[str, Any]], says: list[bytes | float]
) -> None:
    with Wire(says) as wire:
        execution = begun(invocation_target=wire.url)
        notify(execution, StandardTask("token-1"), NOON_MS)
        assert len(wire.requests) == 1
    assert stored(execution)["status"] == "running"
    assert signals == []


def test_a_notification_is_retried_if_the_status_line_breaks_off() -> None:
    with Wire([b"HTTP/1.1 200"]) as wire:
        execution = begun(invocation_target=wire.url)
        with pytest.raises(NotificationUndelivered, match="closed the connection before it answered"):
            notify(execution, StandardTask("token-1"), NOON_MS)


@pytest.mark.parametrize(
    ("content", "on"),
    [(b'{"state": 42}', ["fail"]), (b"{", ["fail", "timeout"]), (b"\xff", ["fail"])],
)
def test_an_invalid_answer_is_not_retried(
    target: Target, signals: list[dict[str, Any]], content: bytes, on: list[str]
) -> None:
    target.content = content
    retry = {"max_attempts": 3, "on": on}
    execution = begun_now(invocation_target=target.url, retry=retry, **{"async": False})
    notify(execution, StandardTask("token-1"), now_ms())
    record = stored(execution)
    assert (record["status"], json.loads(record["error"])) == ("fail", "Job.AnswerInvalid")
    assert "attempts" not in record
    assert [sent["status"] for sent in signals] == ["fail"]


class Waits:
    """Records the waits that were sent to the state machine, or fails with ``error``."""

    exceptions = boto3.client("stepfunctions", "us-east-1").exceptions

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[dict[str, Any]] = []
        self.error = error

    def send_task_heartbeat(self, taskToken: str) -> None:
        pass

    def send_task_failure(self, taskToken: str, error: str, cause: str) -> None:
        assert (taskToken, error) == ("token-1", "AttemptEnded")
        if self.error is not None:
            raise self.error
        self.sent.append(json.loads(cause))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    found = Waits()
    monkeypatch.setattr("jobmanager.executions.task_signal.step_functions", lambda: found)
    return found


def busy(status: int = 503, retry_after: bytes = b"30") -> Wire:
    return Wire([b"HTTP/1.1 %d Busy\r\nRetry-After: %b\r\n\r\n" % (status, retry_after)])


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [True, False])
def test_retry_after_decides_when_a_busy_service_is_notified_again(
    waits: Waits, status: int, is_async: bool, as_date: bool
) -> None:
    asked = int(time.time()) + 120
    retry_after = formatdate(asked, usegmt=True).encode() if as_date else b"120"
    with busy(status, retry_after) as wire:
        execution = begun_now(invocation_target=wire.url, ttl_seconds=600, **{"async": is_async})
        began = now_ms()
        notify(execution, StandardTask("token-1"), began)
        ended = now_ms()
    ((waiting),) = waits.sent
    waits_until = ms_of_iso(waiting.pop("next_attempt_at"))
    earliest, latest = (asked * 1000, asked * 1000) if as_date else (began + 120_000, ended + 120_000)
    assert earliest <= waits_until <= latest + 12_000 + 1000
    assert waiting.pop("postponed") == 1
    left = waiting.pop("timeout_seconds")
    assert execution["timeout_seconds"] - 133 <= left < execution["timeout_seconds"]
    assert waiting == {name: value for name, value in execution.items() if name != "timeout_seconds"}
    assert stored(execution)["status"] == "running"


def test_a_retry_after_beyond_the_deadline_is_shortened(waits: Waits) -> None:
    with busy(retry_after=b"86400") as wire:
        execution = begun_now(invocation_target=wire.url, ttl_seconds=60)
        notify(execution, StandardTask("token-1"), now_ms())
    record = stored(execution)
    assert ms_of_iso(waits.sent[0]["next_attempt_at"]) == (record["lock_expires_at"] - 5) * 1000


@pytest.mark.parametrize(
    ("status", "retry_after", "fields", "postponed"),
    [
        (500, b"30", {}, 0),
        (502, b"30", {}, 0),
        (503, b"0", {}, 0),
        (503, b"soon", {}, 0),
        (503, b"Mon, 23 Nov 2020 12:01:30 GMT", {}, 0),
        (503, b"30", {}, 5),
    ],
)
def test_without_a_usable_retry_after_the_state_machine_retries(
    waits: Waits, status: int, retry_after: bytes, fields: dict[str, Any], postponed: int
) -> None:
    with busy(status, retry_after) as wire:
        execution = {**begun_now(invocation_target=wire.url, **fields), "postponed": postponed}
        with pytest.raises(NotificationUndelivered, match=f"HTTP {status}"):
            notify(execution, StandardTask("token-1"), now_ms())
    assert waits.sent == []


def test_without_time_left_the_state_machine_retries(waits: Waits) -> None:
    with busy() as wire:
        execution = begun_now(invocation_target=wire.url, ttl_seconds=10, max_duration_seconds=11)
        # The earlier time simulates a slow answer.
        with pytest.raises(NotificationUndelivered, match="HTTP 503"):
            notify(execution, StandardTask("token-1"), now_ms() - 6000)
    assert waits.sent == []


def test_the_state_machine_retries_if_step_functions_refuses_the_wait(waits: Waits) -> None:
    waits.error = ClientError({"Error": {"Code": "ThrottlingException"}}, "SendTaskFailure")
    with busy() as wire:
        execution = begun_now(invocation_target=wire.url)
        with pytest.raises(NotificationUndelivered, match="HTTP 503"):
            notify(execution, StandardTask("token-1"), now_ms())


def test_after_the_wait_the_same_attempt_is_notified_again(waits: Waits, target: Target) -> None:
    with busy() as wire:
        execution = begun_now(invocation_target=wire.url, exclusive=True)
        notify(execution, StandardTask("token-1"), now_ms())
    (waiting,) = waits.sent
    point = {":target": target.url, ":running": "running"}
    executions.update_if(
        execution["execution_id"], "SET invocation_target = :target", "#status = :running", point
    )
    notify(waiting, StandardTask("token-2"), now_ms())
    (body,) = target.bodies
    assert (body["execution_id"], body["attempt"]) == (execution["execution_id"], 1)
    record = stored(execution)
    assert (record["status"], record["task_token"], len(record["callback_hashes"])) == (
        "running",
        "token-2",
        2,
    )
