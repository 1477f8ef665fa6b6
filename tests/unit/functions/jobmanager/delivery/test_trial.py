"""Tests of a target: when a job is saved, and on request."""

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from functions.test_job.handler import handler as ask_for_test
from functions.test_target.handler import handler as try_target
from jobmanager.aws.clients import sns
from jobmanager.core.errors import BadRequest, TargetTestFailed, refusal_of
from jobmanager.jobs.validation import definition, validate
from tests.unit.functions.examples import ACCOUNT, api_event, lambda_context, save_job
from tests.unit.functions.target import Target

pytestmark = pytest.mark.usefixtures("cloud")
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:notifications"
OTHER = f"arn:aws:sns:us-east-1:{ACCOUNT}:other"


def change(**fields: Any) -> dict[str, Any]:
    body = {"schedule": "rate(5 minutes)", "invocation_type": "http", "payload": "p", **fields}
    return {"service_name": "billing", "job_name": "nightly", "job": body}


def tried(**fields: Any) -> dict[str, Any]:
    """The answer of the update-job machine's step that tests the target."""
    requested = change(**fields)
    return try_target({**requested, "job": definition(requested["job"], TOPIC)}, lambda_context())


def refusal(answer: dict[str, Any]) -> TargetTestFailed:
    found = refusal_of(answer["refusal"])
    assert isinstance(found, TargetTestFailed)
    return found


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"invocation_target": "https://billing.example/"}, True),
        ({"invocation_target": "https://billing.example/", "test_invocation": True}, True),
        ({"invocation_target": "https://billing.example/", "test_invocation": False}, False),
        ({"invocation_type": "sns"}, False),
        ({"invocation_type": "sns", "invocation_target": TOPIC}, False),
        ({"invocation_type": "sns", "invocation_target": OTHER}, True),
    ],
)
def test_a_target_is_tested_unless_it_is_the_stages_own_topic_or_the_put_declines(
    fields: dict[str, Any], expected: bool
) -> None:
    valid = validate(change(**fields))
    assert valid["test_target"] is expected
    assert "test_invocation" not in valid["job"]


def test_a_test_notification_is_marked_and_has_no_execution(target: Target) -> None:
    assert tried(invocation_target=target.url) == {}
    (body,) = target.bodies
    assert len(body.pop("job_guid")) == 36
    assert body == {
        "test": True,
        "service_name": "billing",
        "job_name": "nightly",
        "schedule": "rate(5 minutes)",
        "payload": "p",
        "async": True,
        "exclusive": False,
        "ttl_seconds": 300,
        "heartbeat_interval_seconds": 100,
    }


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_target_that_answers_other_than_2xx_is_refused_with_what_was_seen(
    target: Target, status: int
) -> None:
    target.script = [status]
    found = refusal(tried(invocation_target=target.url))
    assert found.extra["seen"]["http_status"] == status
    assert found.extra["errors"] == [
        {"pointer": "/invocation_target", "detail": f"it answered HTTP {status}"}
    ]
    assert len(target.bodies) == 1


def test_a_throttled_check_of_a_target_does_not_blame_the_target(target: Target) -> None:
    target.script = [429]
    found = refusal(tried(invocation_target=target.url))
    assert found.extra["seen"]["http_status"] == 429
    assert "it answered HTTP 429: it gets too many requests just now" in found.detail
    assert "Repeat this request later" in found.detail
    assert "Fix it" not in found.detail


@pytest.mark.parametrize(
    "url",
    [
        "https://ann:s3cret@billing.example/",
        "https://billing.example:s3cret/",
        "https://ann:s3cret@b\u00fccher.example/",
        "ann:s3cret@billing.example",
        "https://ann:s3cret@billing.example:x" + "x" * 3000,
    ],
)
def test_a_password_in_a_target_is_repeated_neither_in_an_answer_nor_in_a_log(
    url: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BadRequest) as refused_when_saved:
        validate(change(invocation_target=url))
    refused_when_tried = refusal(tried(invocation_target=url))
    for found in (refused_when_saved.value, refused_when_tried):
        assert "s3cret" not in json.dumps(found.document())
    assert "s3cret" not in "".join((*capsys.readouterr(), caplog.text))


def test_possible_secrets_in_a_target_are_not_repeated(target: Target) -> None:
    target.script = [500]
    found = refusal(tried(invocation_target=f"{target.url}?token=secret"))
    assert found.detail.startswith(f"{target.url} does not take notifications")
    assert "secret" not in json.dumps(found.document())


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("http://127.0.0.1:9/", "the target was not reached: ConnectionRefusedError"),
        ("https://nowhere.invalid/", "the target's name does not resolve"),
        ("http://169.254.169.254/", "the target leads to a metadata address, which this stage does not call"),
    ],
)
def test_an_unreachable_target_is_refused_with_what_was_seen(url: str, seen: str) -> None:
    found = refusal(tried(invocation_target=url))
    assert found.extra["seen"] == {"error": seen}
    assert seen in found.detail


def test_a_topic_is_checked_without_publishing_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sns(), "publish", lambda **_: pytest.fail("its subscribers would receive it"))
    assert tried(invocation_type="sns") == {}
    missing = refusal(tried(invocation_type="sns", invocation_target=OTHER))
    assert missing.extra["seen"] == {"error": "there is no such topic"}


@pytest.mark.parametrize("code", ["AuthorizationError", "AuthorizationErrorException", "AccessDenied"])
def test_a_topic_that_the_stage_may_not_use_is_refused(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    def deny(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code}}, "GetTopicAttributes")

    monkeypatch.setattr(sns(), "get_topic_attributes", deny)
    found = refusal(tried(invocation_type="sns", invocation_target=OTHER))
    assert "have the topic added to notification_topic_arns" in found.extra["seen"]["error"]


def answer_to_test(status: int) -> dict[str, Any]:
    """The answer to POST …/test."""
    event = api_event("POST", service_name="billing", job_name="nightly")
    answer = ask_for_test(event, lambda_context())
    assert answer["statusCode"] == status
    body: dict[str, Any] = json.loads(answer["body"])
    return body


def test_a_target_test_on_request_answers_what_was_seen(target: Target) -> None:
    save_job(invocation_target=target.url)
    found = answer_to_test(200)
    assert (found["invocation_type"], found["invocation_target"]) == ("http", target.url)
    assert found["seen"]["http_status"] == 202
    assert target.bodies[0]["test"] is True
    target.script = [500]
    assert answer_to_test(422)["seen"]["http_status"] == 500


def test_a_target_test_on_request_publishes_to_the_topic_of_an_sns_job() -> None:
    queue = boto3.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:q"
    boto3.client("sns").subscribe(TopicArn=TOPIC, Protocol="sqs", Endpoint=arn)
    save_job(invocation_type="sns", invocation_target=TOPIC)
    assert answer_to_test(200)["seen"]["message_id"]
    (message,) = boto3.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    envelope = json.loads(message["Body"])
    assert envelope["MessageAttributes"]["test"]["Value"] == "true"
    assert json.loads(envelope["Message"])["test"] is True


def test_a_target_test_of_a_missing_topic_answers_422() -> None:
    save_job(invocation_type="sns", invocation_target=OTHER)
    assert "NotFound" in answer_to_test(422)["seen"]["error"]


def test_a_target_test_of_an_unknown_job_answers_404() -> None:
    assert answer_to_test(404)["type"] == "/problems/not-found"
