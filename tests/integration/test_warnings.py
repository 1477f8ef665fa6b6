"""A job that fails too often in a row is paused; an execution that runs long is told of once."""

import json

import pytest

from tests.integration.polling import patient, poll
from tests.integration.published_events import PublishedEvents
from tests.integration.scenario import Json, Scenario, fails, is_silent
from tests.integration.sweeps import reap, reap_expired
from tests.unit.functions.target import Wire

pytestmark = pytest.mark.slow


def wait_for_pause(scenario: Scenario) -> Json:
    def look() -> Json | None:
        reap_expired(scenario)
        paused: Json | None = scenario.job("a").get("paused")
        return paused

    return poll(look, 120, "the pause")


def test_a_job_is_paused_after_failures_in_a_row_and_its_rule_goes(
    scenario: Scenario, published: PublishedEvents
) -> None:
    """Its callbacks fail, so receive_callback has it paused."""
    with scenario.service(over_sns=True, work=fails):
        scenario.put("a", pause_after_failures=2)
        assert len(scenario.rules()) == 1
        at_ms = scenario.tick_time()
        for number in range(2):
            scenario.wait_until("a", scenario.tick(at_ms + 1000 * number), "fail")
        paused = wait_for_pause(scenario)
        last = scenario.execution_id("a", at_ms + 1000)
        assert (paused["code"], paused["paused_by"]) == ("failures_in_a_row", "manager")
        assert paused["reason"].startswith("2 failures in a row")
        assert last in paused["reason"]
        poll(lambda: scenario.rules() == [], 30, "no rule")
        event = published.wait_for("job.paused")
        assert (event["paused"]["code"], event["updated_by"]) == ("failures_in_a_row", "manager")
        answer = scenario.api.request("POST", scenario.job_path("a", "resume"))
        assert "paused" not in answer.body
        assert len(scenario.rules()) == 1
        scenario.wait_until("a", scenario.tick(max(at_ms + 5000, scenario.tick_time())), "fail")
        assert "paused" not in scenario.job("a")


@pytest.mark.parametrize("workflow_type", ["standard", "express"])
def test_a_job_whose_service_is_silent_is_paused(scenario: Scenario, workflow_type: str) -> None:
    """finish_execution settles a timeout of a Standard execution, and reap_executions an Express one."""
    with scenario.service(over_sns=True, work=is_silent):
        scenario.put("a", ttl_seconds=patient(10), pause_after_failures=1, workflow_type=workflow_type)
        scenario.tick()
        assert wait_for_pause(scenario)["code"] == "failures_in_a_row"


def test_a_sync_job_whose_service_refuses_is_paused(scenario: Scenario) -> None:
    """run_execution settles it."""
    with scenario.service(), Wire([b"HTTP/1.1 404 Not Found\r\n\r\n"]) as target:
        sync: Json = {"async": False, "ttl_seconds": 10}
        scenario.put("a", invocation_target=target.url, pause_after_failures=1, **sync)
        scenario.tick()
        assert wait_for_pause(scenario)["code"] == "failures_in_a_row"


@pytest.mark.parametrize("workflow_type", ["standard", "express"])
def test_an_execution_that_runs_long_is_told_of_once_and_goes_on(
    scenario: Scenario, published: PublishedEvents, workflow_type: str
) -> None:
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put("a", ttl_seconds=600, warn_after_seconds=10, workflow_type=workflow_type, owner="team")
        at_ms = scenario.tick()
        name = scenario.execution_id("a", at_ms)
        service.wait_for(lambda s: len(s.received) == 1, 60, "the notification")

        def look() -> Json | None:
            reap(scenario)
            found = scenario.execution("a", at_ms)
            return found if found and "warned_at_ms" in found else None

        warned = poll(look, 150, "the warning")
        assert warned["status"] == "running"
        assert warned["warned_at_ms"] - warned["started_at_ms"] >= 9000
        event = published.wait_for("execution.late")
        assert (event["execution_id"], event["warn_after_seconds"]) == (name, 10)
        assert event["owner"] == "team"
        for _ in range(2):
            reap(scenario)
        answer = scenario.callback(service.received[0].notification["callback_url"], {"status": "success"})
        assert answer.status == 200
        assert scenario.wait_until("a", at_ms, "success")["warned_at_ms"] == warned["warned_at_ms"]
        assert "execution.late" not in events_until(published, "execution.succeeded")


def events_until(published: PublishedEvents, last: str) -> list[str]:
    """The names of the events up to one."""
    names: list[str] = []

    def look() -> bool:
        found = published.sqs.receive_message(QueueUrl=published.queue, MaxNumberOfMessages=10)
        for message in found.get("Messages", []):
            names.append(json.loads(json.loads(message["Body"])["Message"])["event"])
        return last in names

    poll(look, 30, last)
    return names
