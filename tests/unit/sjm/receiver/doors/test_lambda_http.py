"""The door of a Lambda function behind HTTP."""

import base64
import json
from typing import Any

import pytest

from sjm.receiver import MemorySeen, OutOfTime, Receiver, Run
from sjm.receiver.doors import lambda_http
from tests.unit.sjm.receiver.conftest import MakeReceiver
from tests.unit.sjm.receiver.doors.lambda_context import Context
from tests.unit.sjm.receiver.manager import Manager, encoded, signed


class Lambda:
    """Notes the events with which the function invokes itself."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.fault: Exception | None = None

    def invoke(self, FunctionName: str, InvocationType: str, Payload: bytes) -> None:
        if self.fault:
            raise self.fault
        assert (FunctionName, InvocationType) == (Context.invoked_function_arn, "Event")
        self.events.append(json.loads(Payload))


@pytest.fixture
def aws_lambda(monkeypatch: pytest.MonkeyPatch) -> Lambda:
    client = Lambda()
    monkeypatch.setattr(lambda_http, "_client", lambda: client)
    return client


def event(content: bytes, *, method: str = "POST", is_base64: bool = True, **headers: str) -> dict[str, Any]:
    """Format 2.0 of an HTTP API, which is also that of a function URL."""
    return {
        "version": "2.0",
        "rawPath": "/jobs",
        "headers": {**signed(content), **headers},
        "requestContext": {"http": {"method": method, "path": "/jobs"}},
        "body": base64.b64encode(content).decode() if is_base64 else content.decode(),
        "isBase64Encoded": is_base64,
    }


def call(jobs: Receiver, event: dict[str, Any], seconds: float = 300) -> dict[str, Any]:
    answer = jobs.lambda_http(event, Context(seconds))
    json.dumps(answer)
    return answer


@pytest.mark.parametrize("is_base64", [True, False])
def test_it_answers_and_invokes_itself_for_the_work(
    manager: Manager, make_receiver: MakeReceiver, aws_lambda: Lambda, is_base64: bool
) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: f"{run.payload} {run.trace_header}")
    notification = manager.notification(payload="ß 🎉")
    sent = event(encoded(notification), is_base64=is_base64, **{"x-amzn-trace-id": "Root=1"})

    assert call(jobs, sent) == {
        "statusCode": 202,
        "headers": {"content-type": "application/json", "content-length": "23"},
        "body": '{"outcome": "accepted"}',
        "isBase64Encoded": False,
    }
    assert manager.results() == []
    (work,) = aws_lambda.events
    assert call(jobs, work) == {}
    assert manager.results() == [{"status": "success", "summary": "ß 🎉 Root=1"}]
    assert call(jobs, work) == {}  # asynchronous invocations may come twice
    assert len(manager.results()) == 1


def test_the_older_format_of_a_rest_api_is_understood(
    manager: Manager, make_receiver: MakeReceiver, aws_lambda: Lambda
) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: None)
    content = encoded(manager.notification())
    headers = {name.title(): value for name, value in signed(content).items()}

    answer = call(jobs, {"httpMethod": "POST", "headers": headers, "body": content.decode()})
    assert answer["statusCode"] == 202


def test_a_function_that_may_not_invoke_itself_is_notified_again(
    manager: Manager, make_receiver: MakeReceiver, aws_lambda: Lambda, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: None)
    aws_lambda.fault = PermissionError("AccessDeniedException")

    answer = call(jobs, event(encoded(manager.notification())))
    assert (answer["statusCode"], answer["headers"]["retry-after"]) == (503, "30")
    assert "lambda:InvokeFunction" in caplog.text


def test_a_caller_cannot_ask_for_work(make_receiver: MakeReceiver, manager: Manager) -> None:
    jobs = make_receiver()
    worked: list[Run] = []
    jobs.job("nightly")(worked.append)
    forged = json.dumps({"sjm_receiver_work": {"notification": manager.notification()}})

    answer = call(jobs, {**event(b"{}", is_base64=False), "body": forged})
    assert answer["statusCode"] == 401
    assert worked == []


def test_a_sync_job_is_answered_with_its_result(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()
    remaining: list[float | None] = []

    @jobs.job("nightly")
    def nightly(run: Run) -> str:
        remaining.append(run.remaining_seconds)
        return "done"

    answer = call(jobs, event(encoded(manager.notification(sync=True, ttl_seconds=60))), 20)
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"summary": "done"})
    assert remaining[0] is not None
    assert remaining[0] <= 15


def test_a_short_job_is_worked_on_before_the_answer(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()

    @jobs.job("nightly", short=True)
    def nightly(run: Run) -> str:
        assert run.remaining_seconds is not None
        assert run.remaining_seconds <= 9
        return "done"

    sent = event(encoded(manager.notification()))
    assert call(jobs, sent)["statusCode"] == 202
    assert manager.results() == [{"status": "success", "summary": "done"}]
    assert call(jobs, sent)["statusCode"] == 202
    assert len(manager.results()) == 1


def test_a_short_job_that_cannot_begin_is_notified_again(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    class Unreachable(MemorySeen):
        def claim(self, *_: Any) -> bool:
            raise ConnectionError

    jobs = make_receiver(seen=Unreachable())
    jobs.job("nightly", short=True)(lambda run: None)
    sent = event(encoded(manager.notification()))

    assert call(jobs, sent)["statusCode"] == 503
    assert call(jobs, sent, seconds=1)["statusCode"] == 503
    assert jobs.engine.pool.wait_until_idle(0)


def test_work_without_time_is_left_to_the_next_invocation(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: None)

    with pytest.raises(TimeoutError, match="no time"):
        call(jobs, {"sjm_receiver_work": {"notification": manager.notification()}}, seconds=3)


def test_work_ends_before_the_function_is_killed(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver(leave_seconds=1)

    @jobs.job("nightly")
    def nightly(run: Run) -> None:
        while True:
            run.progress()

    call(jobs, {"sjm_receiver_work": {"notification": manager.notification()}}, seconds=5)
    assert manager.results()[0]["error"]["name"] == f"{OutOfTime.__module__}.OutOfTime"


def test_what_is_no_webhook_is_refused(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: None)
    test = encoded({"test": True, "job_name": "nightly"})

    assert call(jobs, event(b"", method="GET"))["statusCode"] == 405
    assert call(jobs, {})["statusCode"] == 405
    assert call(jobs, event(b"{}"))["statusCode"] == 400
    assert call(jobs, {**event(b"{}"), "body": "*"})["statusCode"] in (400, 401)
    assert call(jobs, {**event(b"{}"), "body": "AAAAA"})["statusCode"] == 400
    assert call(jobs, {**event(b"{}"), "headers": None})["statusCode"] == 401
    assert call(jobs, event(encoded(manager.notification("other"))))["statusCode"] == 404
    assert call(jobs, event(test))["statusCode"] == 200


def test_its_client_answers_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    config = lambda_http._client().meta.config

    assert (config.connect_timeout + config.read_timeout) * config.retries["total_max_attempts"] < 10


def test_a_process_makes_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")

    assert lambda_http._client() is lambda_http._client()
