"""A caller's input stays data: it cannot forge log lines, headers or answers."""

import base64
import io
import json
from typing import Any

import pytest

from functions.get_job.handler import handler as get_job
from functions.pause_job.handler import handler as pause_job
from functions.receive_callback.handler import handler as receive_callback
from jobmanager.callbacks.token import hash_of
from jobmanager.executions import store as executions
from jobmanager.executions.begin import begin
from jobmanager.runtime.logs import logger
from tests.unit.functions.examples import NOON_MS, api_event, due, lambda_context, save_job

pytestmark = pytest.mark.usefixtures("cloud")
FORGED = 'a\n{"level": "ERROR", "message": "forged"}\r\nx-forged: yes'


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The functions' log."""
    stream = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", stream)
    return stream


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    """The log lines. Each must be a JSON object."""
    return [json.loads(line) for line in log.getvalue().split("\n") if line]


def test_a_name_in_the_path_cannot_forge_a_log_line_or_a_header(log: io.StringIO) -> None:
    event = api_event("GET", service_name=FORGED, job_name=FORGED)
    answer = get_job(event, lambda_context())

    assert answer["statusCode"] in (400, 404)
    assert set(answer["headers"]) == {"content-type"}
    assert answer["headers"]["content-type"] == "application/problem+json"
    json.loads(answer["body"])
    found = lines(log)
    assert found
    assert not [line for line in found if line["message"] == "forged"]


def test_every_wrong_callback_token_gets_the_same_answer_and_is_not_logged(log: io.StringIO) -> None:
    """The answer does not tell whether an execution exists or waits, or what is wrong with the token."""
    save_job()
    record = begin(due(at_ms=NOON_MS), NOON_MS)
    executions.update_if(
        record["execution_id"],
        "SET callback_hashes = :hashes",
        "#status = :running",
        {":hashes": [hash_of("s" * 43)], ":running": "running"},
    )
    existing = record["execution_id"]
    unknown = existing.replace(existing[36:], "-20200101T000000Z")
    secret = "g" * 43
    guesses = [f"{existing}.{secret}", f"{unknown}.{secret}", f"{existing}.2.{secret}", "garbage", existing]
    answers = []
    for guess in guesses:
        event = api_event("POST", '{"status": "success"}', callback_token=guess)
        answer = receive_callback(event, lambda_context())
        answers.append((answer["statusCode"], answer["headers"], answer["body"]))

    assert {status for status, *_ in answers} == {403}
    assert all(each == answers[0] for each in answers)
    assert secret not in log.getvalue()
    assert lines(log)


def test_the_answer_to_an_unexpected_error_reveals_no_internals(
    monkeypatch: pytest.MonkeyPatch, log: io.StringIO
) -> None:
    monkeypatch.setenv("JOBS_TABLE", "a-table-that-is-not-there")
    answer = get_job(api_event("GET", service_name="billing", job_name="nightly"), lambda_context())

    assert answer["statusCode"] == 500
    for inside in ("a-table-that-is-not-there", "Traceback", "botocore", "Exception"):
        assert inside not in answer["body"]
    assert "request failed" in [line["message"] for line in lines(log)]


def test_a_body_with_a_duplicate_key_is_refused_with_the_key() -> None:
    """A proxy might check the first value, and the manager might use the last one."""
    save_job()
    event = api_event("POST", '{"reason": "a", "reason": "b"}', service_name="billing", job_name="nightly")
    answer = pause_job(event, lambda_context())

    assert answer["statusCode"] == 400
    (error,) = json.loads(answer["body"])["errors"]
    assert 'the key "reason" stands more than once' in error["detail"]


@pytest.mark.parametrize("is_base64", [False, True])
def test_a_body_that_begins_with_a_byte_order_mark_is_read(is_base64: bool) -> None:
    save_job()
    body = '\ufeff{"reason": "migration"}'
    event = api_event("POST", body, service_name="billing", job_name="nightly")
    if is_base64:
        event |= {"body": base64.b64encode(body.encode()).decode(), "isBase64Encoded": True}
    answer = pause_job(event, lambda_context())

    assert (answer["statusCode"], json.loads(answer["body"])["paused"]["reason"]) == (200, "migration")
