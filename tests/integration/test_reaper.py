"""The reaper on a real stage: it ends stuck executions, leaves live ones alone, and has its rule."""

import time
from typing import Any

import pytest

from jobmanager.core.clock import iso
from jobmanager.core.names import execution_id, job_guid
from jobmanager.executions.begin_or_wait import begin_by_hand
from jobmanager.executions.record import Due
from local.sample_service import Callbacks, Pause
from tests.integration.polling import patient, poll
from tests.integration.published_events import PublishedEvents
from tests.integration.scenario import Json, Scenario
from tests.integration.sweeps import reap

pytestmark = pytest.mark.slow

TTL = 10
SECONDS_UNTIL_REAPED = 60


def reap_until_ended(scenario: Scenario, at_ms: int, status: str = "timeout") -> Json:
    """Invokes the reaper every second until the execution of that tick has this status."""

    def look() -> Json | None:
        reap(scenario)
        found = scenario.execution("a", at_ms)
        assert found is not None
        time.sleep(0 if found["status"] != "running" else 1)
        return found if found["status"] == status else None

    return poll(look, SECONDS_UNTIL_REAPED, status)


def test_an_execution_that_was_stopped_by_hand_is_ended_and_its_lock_freed(
    scenario: Scenario, published: PublishedEvents
) -> None:
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as service:
        scenario.put("a", exclusive=True, ttl_seconds=patient(TTL))
        at_ms = scenario.tick()
        service.wait_for(lambda s: len(s.received) == 1, 30, "the notification")
        machines = scenario.aws.client("stepfunctions")
        machines.stop_execution(executionArn=scenario.machine_arn("a", at_ms), error="Operator", cause="oops")
        assert scenario.job("a")["lock_execution"] == scenario.execution_id("a", at_ms)
        ended = reap_until_ended(scenario, at_ms)
        assert (ended["error"], "reaped" in ended["cause"]) == ("Job.HeartbeatTimeout", True)
        poll(lambda: "lock_execution" not in scenario.job("a"), 10, "free lock")
        event = published.wait_for("execution.timed_out")
        assert event["execution_id"] == scenario.execution_id("a", at_ms)
        late = scenario.callback(service.received[0].notification["callback_url"], {"status": "success"})
        assert (late.status, late.body["execution_status"]) == (410, "timeout")


def test_a_record_whose_machine_was_never_started_is_ended_too(
    scenario: Scenario, published: PublishedEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario.put("a", exclusive=True, ttl_seconds=TTL)
    at_ms = scenario.tick_time()
    monkeypatch.setenv("JOBS_TABLE", scenario.outputs["jobs_table_name"])
    monkeypatch.setenv("EXECUTIONS_TABLE", scenario.outputs["executions_table_name"])
    monkeypatch.setenv("RETENTION_DAYS", "7")
    monkeypatch.setenv("INDEX_SHARDS", str(scenario.outputs["index_shards_to_read"]))
    guid = job_guid(scenario.service_name, "a")
    due: Due = {
        "service_name": scenario.service_name,
        "job_name": "a",
        "job_guid": guid,
        "execution_id": execution_id(guid, at_ms),
        "scheduled_time": iso(at_ms),
    }
    begin_by_hand(due, {"started_by": "a function that died before it started the machine"}, at_ms)
    assert scenario.job("a")["lock_execution"] == due["execution_id"]
    ended = reap_until_ended(scenario, at_ms, "fail")
    assert (ended["error"], ended["fault"]) == ("Manager.NotNotified", "manager")
    assert "lock_execution" not in scenario.job("a")
    assert published.wait_for("execution.failed")["execution_id"] == due["execution_id"]


def reap_older_execution(scenario: Scenario, **fields: Any) -> tuple[Json, str, str]:
    """Reaps an execution after a newer one succeeded. Returns the job, the older and the newer execution."""
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as service:
        scenario.put("a", ttl_seconds=patient(TTL), **fields)
        older = scenario.tick()
        service.wait_for(lambda s: len(s.received) == 1, 30, "the first notification")
        machines = scenario.aws.client("stepfunctions")
        machines.stop_execution(executionArn=scenario.machine_arn("a", older))
        scenario.free_lock("a")
        newer = scenario.tick(older + 1000)
        service.wait_for(lambda s: len(s.received) == 2, 30, "the second notification")
        url = service.received[1].notification["callback_url"]
        assert scenario.callback(url, {"status": "success"}).status == 200
        scenario.wait_until("a", newer, "success")
        reap_until_ended(scenario, older)
        return scenario.job("a"), scenario.execution_id("a", older), scenario.execution_id("a", newer)


def test_a_reaped_older_execution_is_the_jobs_last_execution_because_it_ended_last(
    scenario: Scenario,
) -> None:
    job, older, newer = reap_older_execution(scenario)
    assert job["last_execution"]["execution_id"] == older
    assert job["last_successful_execution"]["execution_id"] == newer


def test_a_reaped_execution_whose_lock_has_passed_on_is_not_the_jobs_last_execution(
    scenario: Scenario,
) -> None:
    job, _, newer = reap_older_execution(scenario, exclusive=True)
    assert job["last_execution"]["execution_id"] == newer


def test_an_attempt_that_shortened_its_deadline_is_reaped_and_retried(
    scenario: Scenario,
) -> None:
    """Step Functions waits for ttl_seconds after a heartbeat, so only the reaper sees a shorter deadline."""

    def work(notification: Json, callbacks: Callbacks, pause: Pause) -> None:
        if notification["attempt"] == 1:
            body = {"status": "processing", "extend_seconds": 1}
            assert scenario.callback(notification["callback_url"], body).status == 200
        else:
            callbacks.success()

    with scenario.service(over_sns=True, work=work):
        scenario.put(
            "a", ttl_seconds=120, retry={"max_attempts": 2, "interval_seconds": 1, "on": ["timeout"]}
        )
        at_ms = scenario.tick()

        def is_retried() -> bool:
            reap(scenario)
            found = scenario.execution("a", at_ms)
            return found is not None and [each["status"] for each in found["attempts"]][:1] == ["timeout"]

        poll(is_retried, SECONDS_UNTIL_REAPED, "attempt that was reaped")
        ended = scenario.wait_until("a", at_ms, "success")
        assert [made["status"] for made in ended["attempts"]] == ["timeout", "success"]
        assert scenario.machine("a", at_ms)["status"] == "SUCCEEDED"


def test_a_live_execution_is_left_alone(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as service:
        scenario.put("a", exclusive=True, ttl_seconds=60)
        at_ms = scenario.tick()
        service.wait_for(lambda s: len(s.received) == 1, 30, "the notification")
        reap(scenario)
        scenario.wait_until("a", at_ms, "running")
        url = service.received[0].notification["callback_url"]
        assert scenario.callback(url, {"status": "success"}).status == 200
        assert scenario.machine("a", at_ms)["status"] == "SUCCEEDED"


def test_the_rule_of_the_reaper_invokes_it(scenario: Scenario) -> None:
    events = scenario.aws.client("events")
    name = f"{scenario.outputs['prefix']}-reap-executions"
    rule = events.describe_rule(Name=name)
    assert (rule["State"], rule["ScheduleExpression"]) == ("ENABLED", "rate(1 minute)")
    (target,) = events.list_targets_by_rule(Rule=name)["Targets"]
    assert target["Arn"].endswith(f":function:{scenario.outputs['function_names']['reap_executions']}")
    assert target["DeadLetterConfig"]["Arn"].endswith("-upkeep-dead-letters")
