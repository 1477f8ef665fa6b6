"""Every refusal of a body has the API's wording, and says what was expected."""

import base64
import json
from typing import Any

import pytest

from functions.pause_job.handler import handler as pause_job
from functions.receive_callback.handler import handler as receive_callback
from functions.start_execution.handler import handler as start_execution
from jobmanager.api.http import json_body
from jobmanager.core.errors import BadRequest
from jobmanager.executions import by_hand
from tests.unit.functions.examples import api_event, lambda_context, save_job

PATH = {"service_name": "billing", "job_name": "nightly"}


def refusal(body: str, **fields: Any) -> str:
    with pytest.raises(BadRequest) as refused:
        json_body({**api_event("POST", body), **fields})
    return refused.value.detail


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("", "the body is empty: expected JSON"),
        (" \n", "the body is empty: expected JSON"),
        ("{", "the body is not JSON: expected a name in double quotes at line 1, column 2"),
        ("{'a': 1}", "the body is not JSON: expected a name in double quotes at line 1, column 2"),
        ('{"a": }', "the body is not JSON: expected a value at line 1, column 7"),
        ('{"a" 1}', "the body is not JSON: expected a colon at line 1, column 6"),
        ('{"a": 1 "b"}', "the body is not JSON: expected a comma or the end at line 1, column 9"),
        ('{"a": 1}\n x', "the body is not JSON: expected nothing after the value at line 2, column 2"),
        ('{"a": "b', "the body is not JSON: expected a closing quote for the string at line 1, column 7"),
        ('"\t"', "the body is not JSON: expected an escape for the control character at line 1, column 2"),
        (r'"\x"', r"the body is not JSON: expected one of \" \\ \/ \b \f \n \r \t \u at line 1, column 2"),
        (r'"\u12"', "the body is not JSON: expected four hexadecimal digits at line 1, column 3"),
        ("[" * 100_000, "the body is not JSON: it is nested too deeply"),
        ("NaN", "the body is not JSON: NaN is not a JSON value"),
        ("9" * 5000, "the body is not JSON: a number has too many digits"),
        (
            r'{"a": "\ud800"}',
            r"the body is not JSON: a string holds half of a surrogate pair, such as \ud800",
        ),
    ],
)
def test_a_body_that_is_not_json_is_refused_in_the_apis_wording(body: str, detail: str) -> None:
    assert refusal(body) == detail


def test_a_body_that_is_not_utf_8_is_refused() -> None:
    latin_1 = '{"payload": "für"}'.encode("latin-1")
    whole = refusal(base64.b64encode(latin_1).decode(), isBase64Encoded=True)
    assert whole == "the body is not UTF-8: byte 15 begins no character"
    # API Gateway passes the replacement character on, which takes three bytes.
    replaced = latin_1.decode("utf-8", "replace")
    headers = {"content-type": "application/json", "content-length": str(len(latin_1))}
    assert refusal(replaced, headers=headers) == "the body is not UTF-8"


def test_a_replacement_character_that_was_sent_is_accepted() -> None:
    sent = '{"payload": "\ufffd"}'
    headers = {"content-type": "application/json", "content-length": str(len(sent.encode()))}
    assert json_body({**api_event("POST", sent), "headers": headers}) == {"payload": "\ufffd"}
    assert json_body(api_event("POST", sent)) == {"payload": "\ufffd"}


@pytest.mark.usefixtures("cloud")
def test_a_pause_without_a_reason_says_that_it_is_required() -> None:
    save_job()
    bare = api_event("POST", None, **PATH)  # type: ignore[arg-type]
    bare["headers"] = {}
    for event in (bare, api_event("POST", "", **PATH), api_event("POST", "{}", **PATH)):  # type: ignore[arg-type]
        answer = pause_job(event, lambda_context())
        assert answer["statusCode"] == 400
        assert json.loads(answer["body"])["detail"].startswith("reason: this field is required")


@pytest.mark.usefixtures("cloud")
def test_a_callback_without_a_body_is_refused_only_after_its_token() -> None:
    answer = receive_callback(api_event("POST", "", callback_token="x"), lambda_context())
    assert answer["statusCode"] == 403


@pytest.mark.usefixtures("cloud")
def test_no_payload_and_an_empty_one_are_the_same_request_if_they_run_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(by_hand, "start_machine_of", lambda record: None)

    def start(key: str, body: str | None) -> tuple[int, str]:
        event = api_event("POST", body, **PATH)  # type: ignore[arg-type]
        event["headers"]["idempotency-key"] = key
        answer = start_execution(event, lambda_context())
        return answer["statusCode"], json.loads(answer["body"]).get("execution_id", "")

    save_job()
    status, first = start("a", None)
    assert status == 201
    assert start("a", '{"payload": ""}') == start("a", "{}") == (201, first)
    assert start("a", '{"payload": "x"}')[0] == 409
    assert start("b", '{"payload": ""}') == start("b", None)

    save_job(payload="p")
    assert start("c", None)[0] == 201
    assert start("c", '{"payload": ""}')[0] == 409
    assert start("d", '{"payload": ""}')[0] == 201
    assert start("d", None)[0] == 409
