"""The lean client of Step Functions: what it sends, what it repeats, and what it raises, as boto3's would."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from jobmanager.aws import clients, lean_calls

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:run-job"
STARTED = (200, b'{"executionArn": "arn", "startDate": 1.5}')
EXISTS = (400, b'{"__type": "ExecutionAlreadyExists", "message": "taken"}')
FULL = (400, b'{"__type": "com.amazonaws.states#ExecutionLimitExceeded", "message": "full"}')
THROTTLED = (400, b'{"__type": "ThrottlingException", "message": "Rate exceeded"}')
BROKEN = (503, b"<html>no</html>")
NO_ANSWER = (0, b"")


class Aws(ThreadingHTTPServer):
    """Gives the answers that a test lists, the last one again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, bytes]] = [STARTED]
        self.requests: list[tuple[dict[str, str], bytes]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Aws

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
        answers = self.server.answers
        status, text = answers.pop(0) if len(answers) > 1 else answers[0]
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the tests' output clean."""


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> Iterator[Aws]:
    server = Aws()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(clients._CONFIG, "read_timeout", 60)
    clients._client.cache_clear()
    yield server
    clients._client.cache_clear()
    server.shutdown()
    thread.join()
    server.server_close()


def start(client: "SFNClient") -> object:
    return client.start_execution(stateMachineArn=MACHINE, name="x", input='{"a": "é"}')


def test_it_sends_what_boto3_sends(aws: Aws) -> None:
    assert start(clients.untraced_step_functions()) == {"executionArn": "arn", "startDate": 1.5}
    start(clients.step_functions())
    (lean, lean_body), (full, full_body) = aws.requests
    assert json.loads(lean_body) == json.loads(full_body)
    for header in ("content-type", "x-amz-target", "host", "x-amz-security-token"):
        assert lean[header] == full[header]
    for of_scheme in (0, 1):  # the algorithm, and the key with the scope
        assert lean["authorization"].split()[of_scheme] == full["authorization"].split()[of_scheme]
    signed = lean["authorization"].split()[2]
    assert signed == "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target,"


@pytest.mark.parametrize(
    ("answer", "code"), [(EXISTS, "ExecutionAlreadyExists"), (FULL, "ExecutionLimitExceeded")]
)
def test_a_refusal_is_raised_as_the_clients_exception_and_not_repeated(
    aws: Aws, pauses: list[float], answer: tuple[int, bytes], code: str
) -> None:
    client = clients.untraced_step_functions()
    aws.answers = [answer]
    with pytest.raises(getattr(client.exceptions, code)) as raised:
        start(client)
    assert raised.value.response["Error"] == {"Code": code, "Message": json.loads(answer[1])["message"]}
    assert (len(aws.requests), pauses) == (1, [])


@pytest.mark.parametrize("failure", [THROTTLED, BROKEN, NO_ANSWER], ids=["throttled", "broken", "no answer"])
def test_what_may_pass_is_tried_three_times_with_growing_pauses(
    aws: Aws, pauses: list[float], failure: tuple[int, bytes]
) -> None:
    aws.answers = [failure, failure, STARTED]
    assert start(clients.untraced_step_functions()) == {"executionArn": "arn", "startDate": 1.5}
    assert len(aws.requests) == 3
    assert 0.5 <= pauses[0] <= 1 <= pauses[1] <= 2


@pytest.mark.parametrize(
    ("failure", "code"), [(THROTTLED, "ThrottlingException"), (BROKEN, "503")], ids=["throttled", "broken"]
)
def test_after_three_tries_the_last_failure_is_raised(
    aws: Aws, failure: tuple[int, bytes], code: str
) -> None:
    aws.answers = [failure]
    with pytest.raises(ClientError) as raised:
        start(clients.untraced_step_functions())
    assert raised.value.response["Error"]["Code"] == code
    assert len(aws.requests) == lean_calls._MAX_TRIES


def test_no_answer_is_an_error_of_botocore_after_three_tries(aws: Aws) -> None:
    aws.answers = [NO_ANSWER]
    with pytest.raises(ConnectionClosedError):
        start(clients.untraced_step_functions())
    assert len(aws.requests) == lean_calls._MAX_TRIES


def test_no_connection_is_an_error_of_botocore_after_three_tries(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", "http://127.0.0.1:1")
    clients._client.cache_clear()
    with pytest.raises(EndpointConnectionError):
        start(clients.untraced_step_functions())
    clients._client.cache_clear()
    assert len(pauses) == lean_calls._MAX_TRIES - 1
