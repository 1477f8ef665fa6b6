"""Notifications over SNS and by webhook: what a service receives, and what its answers cause."""

import json
import time
from typing import Any

import pytest

from local.observed_service import ObservedService
from tests.integration.polling import patient
from tests.integration.scenario import Scenario
from tests.unit.functions.target import Wire


def test_subscriptions_with_a_filter_receive_only_matching_notifications(scenario: Scenario) -> None:
    with (
        scenario.service(over_sns=True) as mine,
        ObservedService(
            f"{scenario.service_name}-other", scenario.outputs["notifications_topic_arn"]
        ) as other,
    ):
        scenario.put("a", payload="for me")
        at_ms = scenario.tick()
        scenario.wait_until("a", at_ms, "success")
        assert [received.notification["payload"] for received in mine.received] == ["for me"]
        assert other.received == ()


def test_a_webhook_body_has_every_field(scenario: Scenario) -> None:
    with scenario.service() as service:
        scenario.put(
            "a",
            invocation_target=service.webhook_url("a"),
            payload='{"do": "succeed", "state": "cursor-42", "summary": "4 invoices"}',
            ttl_seconds=100,
            exclusive=True,
        )
        first = scenario.tick()
        succeeded = scenario.wait_until("a", first, "success")
        scenario.machine("a", first)
        second = scenario.tick(first + 1000)
        scenario.wait_until("a", second, "success")
        body = dict(service.received[1].notification)
    callback_url = body.pop("callback_url")
    latency_ms = body.pop("invocation_latency_ms")
    assert callback_url.startswith(
        f"{scenario.outputs['api_url']}/callback/{scenario.execution_id('a', second)}."
    )
    assert body.pop("invocation_latency_pct") == round(latency_ms / 100_000 * 100, 1)
    assert body == {
        "service_name": scenario.service_name,
        "job_name": "a",
        "job_guid": scenario.job("a")["job_guid"],
        "execution_id": scenario.execution_id("a", second),
        "attempt": 1,
        "async": True,
        "heartbeat_interval_seconds": 33,
        "ttl_seconds": 100,
        "payload": '{"do": "succeed", "state": "cursor-42", "summary": "4 invoices"}',
        "schedule": scenario.schedule,
        "scheduled_time": scenario.execution("a", second)["scheduled_time"],  # type: ignore[index]
        "scheduled_time_ms": second,
        "exclusive": True,
        "fencing_token": 2,
        "last_successful_execution": {
            "execution_id": scenario.execution_id("a", first),
            "scheduled_time": succeeded["scheduled_time"],
            "scheduled_time_ms": first,
            "service_invoked_at_ms": succeeded["service_invoked_at_ms"],
            "finished_at_ms": succeeded["finished_at_ms"],
            "fencing_token": 1,
            "state": "cursor-42",
            "status": "success",
            "summary": "4 invoices",
        },
    }


def test_a_target_that_answers_503_twice_and_then_200_makes_one_success(scenario: Scenario) -> None:
    with scenario.service() as service:
        service.script_answers(503, 503, 200)
        scenario.put("a", invocation_target=service.webhook_url("a"))
        at_ms = scenario.tick()
        scenario.wait_until("a", at_ms, "success", seconds=60)
        assert scenario.machine("a", at_ms)["status"] == "SUCCEEDED"
        assert [received.outcome for received in service.received] == ["refused", "refused", "taken"]
        assert len(scenario.history("a")) == 1


def test_a_busy_service_is_notified_again_after_its_retry_after(scenario: Scenario) -> None:
    with Wire([b'HTTP/1.1 200 OK\r\n\r\n{"state": "cursor-42"}']) as service:
        service.says_first = [
            [b"HTTP/1.1 503 Busy\r\nRetry-After: 4\r\n\r\n"],
            [b"HTTP/1.1 429 Slow Down\r\nRetry-After: 5\r\n\r\n"],
        ]
        fields: dict[str, Any] = {"async": False, "exclusive": True}
        scenario.put("a", invocation_target=service.url, **fields)
        at_ms = scenario.tick()
        ended = scenario.wait_until("a", at_ms, "success", seconds=60)
        assert (ended["attempt"], ended["state"]) == (1, "cursor-42")
        first, second, third = service.arrived_at
        assert second - first >= 4
        assert third - second >= 5
        assert scenario.machine("a", at_ms)["status"] == "SUCCEEDED"
        entered = [
            e.get("stateEnteredEventDetails", {}).get("name") for e in scenario.machine_events("a", at_ms)
        ]
        assert [name for name in entered if name] == [
            "RunJob",
            "WaitForNextAttempt",
            "RunJob",
            "WaitForNextAttempt",
            "RunJob",
        ]


def test_a_service_with_an_odd_answer_is_notified_once(scenario: Scenario) -> None:
    """It sends interim answers, more headers than most clients read and a malformed one, and resets."""
    head = [b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n", b"HTTP/1.1 202 Accepted\r\n"]
    with Wire([*head, b"X-Line: y\r\n" * 150, b"no header\r\n"], "reset") as service:
        scenario.put("a", invocation_target=service.url, ttl_seconds=patient(20))
        at_ms = scenario.tick()
        scenario.wait_until("a", at_ms, "timeout", seconds=60)
        assert len(service.requests) == 1


def test_a_heartbeat_shows_that_the_notification_arrived_though_a_gateway_answers_504(
    scenario: Scenario,
) -> None:
    with scenario.service() as service:
        service.script_answers(*[504] * 9)
        scenario.put("a", invocation_target=service.webhook_url("a"), exclusive=True)
        at_ms = scenario.tick()
        service.wait_for(lambda s: bool(s.received), 30, "the notification")
        url = service.received[-1].notification["callback_url"]
        assert scenario.callback(url, {"status": "processing"}).status == 200
        # One retry that had begun before may still be sent, but no other.
        most = len(service.received) + 1
        time.sleep(15)
        assert len(service.received) <= most
        assert scenario.callback(url, {"status": "success", "state": "s"}).status == 200
        assert scenario.wait_until("a", at_ms, "success")["state"] == "s"
        assert scenario.machine("a", at_ms)["status"] == "SUCCEEDED"


def test_a_target_that_answers_404_fails_the_execution(scenario: Scenario) -> None:
    with scenario.service() as service:
        service.script_answers(404)
        scenario.put("a", invocation_target=service.webhook_url("a"), exclusive=True)
        at_ms = scenario.tick()
        failed = scenario.wait_until("a", at_ms, "fail")
        assert failed["error"] == "Job.NotificationRejected"
        machine = scenario.machine("a", at_ms)
        assert (machine["status"], machine["error"]) == ("FAILED", "Job.NotificationRejected")
        assert "404" in machine["cause"]
        assert "lock_execution" not in scenario.job("a")
        assert len(service.received) == 1


def test_a_topic_that_the_stage_may_not_publish_to_fails_the_execution(scenario: Scenario) -> None:
    topic = scenario.aws.client("sns").create_topic(Name=f"{scenario.service_name}-own")["TopicArn"]
    scenario.put("a", invocation_type="sns", invocation_target=topic)
    at_ms = scenario.tick()
    assert scenario.wait_until("a", at_ms, "fail")["error"] == "Job.NotificationRejected"


@pytest.mark.parametrize("kind", ["http", "sns"])
def test_a_large_payload_arrives_unchanged(scenario: Scenario, kind: str) -> None:
    payload = json.dumps({"do": "succeed", "filler": "ü" * 16_000}, ensure_ascii=False)
    with scenario.service(over_sns=kind == "sns") as service:
        target = service.webhook_url("a") if kind == "http" else None
        scenario.put("a", payload=payload, invocation_type=kind, invocation_target=target)
        at_ms = scenario.tick()
        scenario.wait_until("a", at_ms, "success")
        assert service.received[0].notification["payload"] == payload
