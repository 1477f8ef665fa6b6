"""Callbacks: heartbeats, results, timeouts and tokens."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from local.observed_service import ObservedService
from tests.integration.polling import patient
from tests.integration.scenario import Json, Scenario

SECRET_CHARACTERS = 43


@pytest.mark.slow
def test_heartbeats_keep_a_job_alive_beyond_its_ttl(scenario: Scenario) -> None:
    with scenario.service(over_sns=True):
        ttl = patient(10)
        working = {"do": "succeed", "seconds": ttl + 2, "heartbeats": 5}
        scenario.put("a", ttl_seconds=ttl, payload=json.dumps(working))
        at_ms = scenario.tick()
        execution = scenario.wait_until("a", at_ms, "success")
        assert execution["duration_ms"] > ttl * 1000
        assert scenario.machine("a", at_ms)["status"] == "SUCCEEDED"


def test_a_silent_job_times_out(scenario: Scenario) -> None:
    with scenario.service(over_sns=True):
        scenario.put("a", ttl_seconds=10, exclusive=True, payload='{"do": "silent"}')
        at_ms = scenario.tick()
        execution = scenario.wait_until("a", at_ms, "timeout")
        assert execution["error"] == "Job.HeartbeatTimeout"
        machine = scenario.machine("a", at_ms)
        assert (machine["status"], machine["error"]) == ("FAILED", "Job.HeartbeatTimeout")
        assert "lock_execution" not in scenario.job("a")


def test_a_jobs_own_heartbeat_interval_is_enforced(scenario: Scenario) -> None:
    with scenario.service(over_sns=True) as service:
        interval = patient(5)
        scenario.put("a", ttl_seconds=600, heartbeat_interval_seconds=interval, payload='{"do": "silent"}')
        at_ms = scenario.tick()
        execution = scenario.wait_until("a", at_ms, "timeout", seconds=30)
        assert execution["cause"] == f"no heartbeat and no result within {interval} seconds"
        assert service.received[0].notification["heartbeat_interval_seconds"] == interval


@pytest.mark.slow
def test_a_job_times_out_after_its_max_duration_despite_heartbeats(scenario: Scenario) -> None:
    with scenario.service(over_sns=True) as service:
        ttl, beating = patient(10), '{"do": "heartbeat_forever", "every": 1}'
        scenario.put("a", ttl_seconds=ttl, max_duration_seconds=ttl + 2, payload=beating)
        at_ms = scenario.tick()
        execution = scenario.wait_until("a", at_ms, "timeout")
        assert execution["error"] == "Job.Timeout"
        assert scenario.machine("a", at_ms)["error"] == "Job.Timeout"
        service.wait_for(lambda s: s.callbacks[-1].answer.status == 410, 10, "the answer 410")


def test_a_failed_job_has_the_services_error_and_cause(scenario: Scenario) -> None:
    with scenario.service(over_sns=True):
        scenario.put("a", payload='{"do": "fail", "error": "LedgerUnbalanced", "summary": "off by 7"}')
        at_ms = scenario.tick()
        execution = scenario.wait_until("a", at_ms, "fail")
        assert (execution["error"], execution["summary"]) == ("LedgerUnbalanced", "off by 7")
        machine = scenario.machine("a", at_ms)
        assert (machine["status"], machine["error"], machine["cause"]) == (
            "FAILED",
            "LedgerUnbalanced",
            "off by 7",
        )


def test_an_error_with_the_name_of_a_retried_error_is_not_retried(scenario: Scenario) -> None:
    with scenario.service(over_sns=True) as service:
        scenario.put("a", payload='{"do": "fail", "error": "NotificationUndelivered"}')
        at_ms = scenario.tick()
        scenario.wait_until("a", at_ms, "fail")
        machine = scenario.machine("a", at_ms)
        assert (machine["error"], machine["cause"]) == ("NotificationUndelivered", "NotificationUndelivered")
        assert len(service.received) == 1


@pytest.mark.parametrize(
    ("fields", "status", "billed"),
    [
        ({}, "success", 2),
        ({"exclusive": True, "payload": '{"do": "succeed", "heartbeats": 1, "seconds": 1}'}, "success", 2),
        ({"payload": '{"do": "fail"}'}, "fail", 3),
    ],
    ids=["success", "success with a lock and a heartbeat", "failure"],
)
def test_a_run_is_billed_so_many_transitions(
    scenario: Scenario, fields: Json, status: str, billed: int
) -> None:
    with scenario.service(over_sns=True):
        scenario.put("a", **fields)
        at_ms = scenario.tick()
        scenario.wait_until("a", at_ms, status)
        scenario.machine("a", at_ms)
    assert transitions(scenario, at_ms) == billed


def test_a_skip_is_billed_2_transitions_and_succeeds_with_its_reason(scenario: Scenario) -> None:
    scenario.put("a")
    pause = {"reason": "the ledger is being moved", "until": "2150-01-01T00:00:00Z"}
    assert scenario.api.request("POST", scenario.job_path("a", "pause"), pause).status == 200
    at_ms = scenario.tick()
    scenario.wait_until("a", at_ms, "skipped")
    machine = scenario.machine("a", at_ms)
    output = json.loads(machine["output"])
    assert (machine["status"], output["status"]) == ("SUCCEEDED", "skipped")
    assert output["reason"]["code"] == "job_paused"
    assert transitions(scenario, at_ms) == 2


def transitions(scenario: Scenario, at_ms: int) -> int:
    """The billed transitions: the start, each state that was entered, each retry."""
    events = scenario.machine_events("a", at_ms)
    entered = [event for event in events if event["type"].endswith("StateEntered")]
    retries = [event for event in events if event["type"] == "TaskScheduled"][1:]
    return 1 + len(entered) + len(retries)


def test_the_lock_is_free_when_the_result_is_acknowledged(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as service:
        scenario.put("a", exclusive=True, payload="x")
        at_ms = scenario.tick()
        service.wait_for(lambda s: len(s.received) == 1, 30, "the notification")
        assert scenario.job("a")["lock_execution"] == scenario.execution_id("a", at_ms)
        url = service.received[0].notification["callback_url"]
        assert scenario.callback(url, {"status": "success", "state": "7"}).status == 200
        job = scenario.job("a")
        assert "lock_execution" not in job
        assert job["last_successful_execution"]["execution_id"] == scenario.execution_id("a", at_ms)
        machine = scenario.machine("a", at_ms)
        output = {"execution_id": scenario.execution_id("a", at_ms), "status": "success"}
        assert (machine["status"], json.loads(machine["output"])) == ("SUCCEEDED", output)


@pytest.fixture
def waiting(scenario: Scenario) -> Iterator[tuple[ObservedService, str, int]]:
    """A service that was notified and does not call back, its callback_url, and the tick."""
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as service:
        scenario.put("a", ttl_seconds=600, payload="x")
        at_ms = scenario.tick()
        service.wait_for(lambda s: len(s.received) == 1, 30, "the notification")
        yield service, service.received[0].notification["callback_url"], at_ms


def test_forged_tokens_are_forbidden(scenario: Scenario, waiting: tuple[ObservedService, str, int]) -> None:
    _, url, at_ms = waiting
    base, _, token = url.rpartition("/")
    identifier, _, secret = token.partition(".")
    assert len(secret) == SECRET_CHARACTERS
    other_execution = scenario.execution_id("a", at_ms - 60_000)
    for forged in (
        f"{identifier}.{'x' * SECRET_CHARACTERS}",
        f"{identifier}.{secret[:-1]}",
        f"{identifier}.",
        identifier,
        f"{other_execution}.{secret}",
        f"00000000-0000-5000-8000-000000000000-20261123T120000Z.{secret}",
        "garbage",
        "%00%ff",
        "x" * 2000,
    ):
        answer = scenario.callback(f"{base}/{forged}", {"status": "success"})
        assert (answer.status, answer.body["type"]) == (403, "/problems/forbidden"), forged
    assert scenario.execution("a", at_ms)["status"] == "running"  # type: ignore[index]


def test_an_invalid_callback_is_refused_with_its_field_and_changes_nothing(
    scenario: Scenario, waiting: tuple[ObservedService, str, int]
) -> None:
    _, url, at_ms = waiting
    assert scenario.callback(url, b"status=success", "application/x-www-form-urlencoded").status == 415
    wrong: list[tuple[Any, str]] = [
        (b"{", ""),
        ({"status": "done"}, "/status"),
        ({"status": "processing", "progress": 101}, "/progress"),
        ({"status": "success", "summary": "s" * 1025}, "/summary"),
    ]
    for body, pointer in wrong:
        answer = scenario.callback(url, body)
        assert answer.status == 400
        assert [error["pointer"] for error in answer.body["errors"]] == [pointer]
    heartbeat = scenario.callback(url, {"status": "processing", "progress": 73})
    assert (heartbeat.status, heartbeat.body["progress"], heartbeat.body["status"]) == (200, 73, "running")
    assert scenario.callback(url, {"status": "success", "state": "s"}).status == 200
    assert scenario.machine("a", at_ms)["status"] == "SUCCEEDED"


def test_after_the_end_the_same_result_is_200_and_any_other_callback_410(
    scenario: Scenario, waiting: tuple[ObservedService, str, int]
) -> None:
    _, url, at_ms = waiting
    final = {"status": "success", "state": "kept", "summary": "done"}
    assert [scenario.callback(url, final).status for _ in range(2)] == [200, 200]
    scenario.machine("a", at_ms)
    assert scenario.callback(url, final).status == 200
    for other in ({"status": "processing"}, {"status": "fail"}, {**final, "state": "another"}):
        answer = scenario.callback(url, other)
        assert (answer.status, answer.body["execution_status"]) == (410, "success")
    assert scenario.execution("a", at_ms)["state"] == "kept"  # type: ignore[index]
