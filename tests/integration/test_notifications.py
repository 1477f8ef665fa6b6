"""Notifications: what a service gets, over SNS and by webhook, and what its answers lead to."""

import json

import pytest

from local.sample_service import SampleService
from tests.integration.scenario import Scenario


def test_subscriptions_with_a_filter_receive_only_theirs(scenario: Scenario) -> None:
    with (
        scenario.service(over_sns=True) as mine,
        SampleService(f"{scenario.service_name}-other", scenario.outputs["notifications_topic_arn"]) as other,
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
def test_a_large_payload_arrives_as_it_is(scenario: Scenario, kind: str) -> None:
    payload = json.dumps({"do": "succeed", "filler": "ü" * 16_000}, ensure_ascii=False)
    with scenario.service(over_sns=kind == "sns") as service:
        target = service.webhook_url("a") if kind == "http" else None
        scenario.put("a", payload=payload, invocation_type=kind, invocation_target=target)
        at_ms = scenario.tick()
        scenario.wait_until("a", at_ms, "success")
        assert service.received[0].notification["payload"] == payload
