"""Targets are tested before a job is saved. A sync job's answer is its result."""

import gzip
import ssl
from pathlib import Path
from typing import Any

import pytest

from local.api_client import ApiResponse
from local.observed_service import ObservedService
from tests.integration.scenario import Scenario
from tests.unit.functions.certificates import issued, server_context
from tests.unit.functions.target import Wire

SYNC: dict[str, Any] = {"async": False}


def test_a_put_calls_its_target_with_a_test_notification_before_it_saves(scenario: Scenario) -> None:
    with scenario.service() as service:
        service.script_answers(404)
        refused = scenario.put(
            "a", expected=(422,), invocation_target=service.webhook_url("a"), test_invocation=True
        )
        assert refused.body["type"] == "/problems/target-test-failed"
        assert refused.body["seen"]["http_status"] == 404
        assert scenario.api.request("GET", scenario.job_path("a")).status == 404
        assert scenario.rules() == []
        scenario.put("a", expected=(201,), invocation_target=service.webhook_url("a"), test_invocation=None)
        assert [received.outcome for received in service.received] == ["refused", "tested"]
        assert all(received.notification["test"] for received in service.received)
        assert not any("execution_id" in received.notification for received in service.received)


def test_an_unreachable_target_is_reported_and_can_still_be_saved(scenario: Scenario) -> None:
    target = "http://127.0.0.1:9/jobs"
    refused = scenario.put("a", expected=(422,), invocation_target=target, test_invocation=True)
    assert "ConnectionRefusedError" in refused.body["seen"]["error"]
    scenario.put("a", expected=(201,), invocation_target=target)


def test_only_topics_that_the_stage_may_publish_to_are_targets(scenario: Scenario) -> None:
    for topic in ("not-there", "events"):
        arn = scenario.outputs["notifications_topic_arn"].replace("-notifications", f"-{topic}")
        refused = scenario.put(
            "a", expected=(422,), invocation_type="sns", invocation_target=arn, test_invocation=True
        )
        assert "notification_topic_arns" in refused.body["seen"]["error"]


def test_a_topic_that_the_stage_lists_is_tested_and_published_to(scenario: Scenario) -> None:
    topic = scenario.outputs["notifications_topic_arn"].replace("-notifications", "-of-a-service")
    with ObservedService(scenario.service_name, topic) as service:
        scenario.put(
            "a", expected=(201,), invocation_type="sns", invocation_target=topic, test_invocation=True
        )
        assert scenario.api.request("POST", scenario.job_path("a", "test")).status == 200
        at_ms = scenario.tick()
        scenario.wait_until("a", at_ms, "success")
        service.wait_for(lambda s: len(s.received) == 2, 10, "the test and the notification")
        outcomes = [received.outcome for received in service.received]
        assert sorted(outcomes) == ["taken", "tested"]


def test_a_target_is_tested_on_request(scenario: Scenario) -> None:
    def test(name: str) -> ApiResponse:
        return scenario.api.request("POST", scenario.job_path(name, "test"))

    with scenario.service(over_sns=True) as service:
        scenario.put("a", invocation_target=service.webhook_url("a"))
        scenario.put("b")
        assert test("a").body["seen"]["http_status"] == 200
        service.script_answers(500)
        assert test("a").status == 422
        assert test("b").body["seen"]["message_id"]
        service.wait_for(lambda s: len(s.received) == 3, 10, "the test by SNS")
        assert [received.outcome for received in service.received] == ["tested", "refused", "tested"]
    assert test("never-was").status == 404


def test_a_sync_job_ends_with_the_answer_to_its_webhook(scenario: Scenario) -> None:
    with scenario.service() as service:
        scenario.put(
            "a",
            invocation_target=service.webhook_url("a"),
            payload='{"state": "cursor-42", "summary": "4 invoices", "seconds": 1}',
            exclusive=True,
            **SYNC,
        )
        at_ms = scenario.tick()
        ended = scenario.wait_until("a", at_ms, "success")
        assert (ended["state"], ended["summary"]) == ("cursor-42", "4 invoices")
        assert ended["duration_ms"] >= 1000
        assert scenario.machine("a", at_ms)["status"] == "SUCCEEDED"
        again = scenario.tick(at_ms + 1000)
        scenario.wait_until("a", again, "success")
        (first, second) = (received.notification for received in service.received)
        assert "callback_url" not in first
        assert second["last_successful_execution"]["state"] == "cursor-42"
        assert service.callbacks == ()


def test_a_sync_job_that_is_silent_times_out(scenario: Scenario) -> None:
    with scenario.service() as service:
        target = service.webhook_url("a")
        scenario.put("a", invocation_target=target, payload='{"seconds": 20}', ttl_seconds=10, **SYNC)
        at_ms = scenario.tick()
        ended = scenario.wait_until("a", at_ms, "timeout")
        assert ended["cause"] == "the target did not answer within 10 seconds"
        assert scenario.machine("a", at_ms)["status"] == "FAILED"
        service.wait_for(lambda s: bool(s.received), 60, "the end of the work")
        assert len(service.received) == 1


def test_a_sync_job_whose_answer_is_not_2xx_fails(scenario: Scenario) -> None:
    with scenario.service() as service:
        scenario.put("a", invocation_target=service.webhook_url("a"), payload='{"do": "fail"}', **SYNC)
        at_ms = scenario.tick()
        ended = scenario.wait_until("a", at_ms, "fail")
        assert ended["cause"] == "the target answered HTTP 422"


ODD_ANSWERS = {
    "with a byte order mark": b"Content-Type: application/json\r\n\r\n\xef\xbb\xbf%b",
    "under another type": b"Content-Type: text/html\r\n\r\n%b",
    "compressed": b"Content-Type: text/json\r\nContent-Encoding: gzip\r\n\r\n%b",
}


@pytest.mark.parametrize(("name", "answer"), ODD_ANSWERS.items(), ids=ODD_ANSWERS)
def test_the_state_of_an_odd_answer_reaches_the_next_run(
    scenario: Scenario, name: str, answer: bytes
) -> None:
    result = b'{"state": "cursor-42"}'
    content = gzip.compress(result) if name == "compressed" else result
    with Wire([b"HTTP/1.1 200 OK\r\n" + answer % content]) as service:
        scenario.put("a", invocation_target=service.url, **SYNC)
        at_ms = scenario.tick()
        assert scenario.wait_until("a", at_ms, "success")["state"] == "cursor-42"
        assert scenario.machine("a", at_ms)["status"] == "SUCCEEDED"
        scenario.wait_until("a", scenario.tick(at_ms + 1000), "success")
        assert b'"state": "cursor-42"' in service.requests[-1]


def test_an_answer_that_cannot_be_read_fails_the_run_and_is_not_retried(scenario: Scenario) -> None:
    answer = (
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: br\r\n\r\n{"state": "a"}'
    )
    with Wire([answer]) as service:
        scenario.put("a", invocation_target=service.url, retry={"max_attempts": 3}, **SYNC)
        at_ms = scenario.tick()
        ended = scenario.wait_until("a", at_ms, "fail")
        assert (ended["error"], len(ended["attempts"])) == ("Job.AnswerInvalid", 1)
        assert ended["cause"] == "the answer was not read: its Content-Encoding is neither gzip nor deflate"
        machine = scenario.machine("a", at_ms)
        assert (machine["status"], machine["error"]) == ("FAILED", "Job.AnswerInvalid")
        assert len(service.requests) == 1


@pytest.mark.slow
def test_an_invalid_certificate_is_explained_by_the_put_and_by_the_execution(
    scenario: Scenario, tmp_path: Path
) -> None:
    tls: ssl.SSLContext = server_context(tmp_path, issued("billing", None, ["127.0.0.1"]))
    with Wire([b"HTTP/1.1 202 Accepted\r\n\r\n"], tls=tls) as service:
        target = f"https://127.0.0.1:{service.port}/"
        refused = scenario.put("a", expected=(422,), invocation_target=target, test_invocation=True)
        why = "the target was not reached: its certificate is self-signed: its issuer is unknown"
        assert refused.body["seen"] == {"error": why}
        scenario.put("a", expected=(201,), invocation_target=target)
        at_ms = scenario.tick()
        assert scenario.wait_until("a", at_ms, "fail", seconds=120)["cause"] == why
        assert service.requests == []


def test_a_password_in_a_target_is_refused_and_not_repeated(scenario: Scenario) -> None:
    target = "https://ann:s3cret@billing.example/"
    refused = scenario.put("a", expected=(400,), invocation_target=target)
    assert "the URL has a user name or a password" in refused.body["errors"][0]["detail"]
    assert "s3cret" not in str(refused.body)
