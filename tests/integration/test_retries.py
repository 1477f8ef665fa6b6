"""A failed attempt is retried under the same lock, and callbacks of one attempt do not affect another."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from jobmanager.core.clock import iso, now_ms
from local.observed_service import ObservedService
from local.sample_service import Callbacks, Notification, Pause
from tests.integration.polling import patient, poll
from tests.integration.scenario import MOST_SECONDS_HELD, Json, Scenario, is_silent

type Work = Callable[[Notification, Callbacks, Pause], None]


def fails_until(attempt: int) -> Work:
    """A service that fails every attempt before this one, and succeeds then."""

    def work(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
        if notification["attempt"] < attempt:
            callbacks.fail("LedgerBusy", summary=f"attempt {notification['attempt']}")
        else:
            callbacks.success(state="kept")

    return work


def fails_once() -> Work:
    """A service that fails its first run, and succeeds afterwards."""
    failed = threading.Event()

    def work(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
        if failed.is_set():
            callbacks.success()
        else:
            failed.set()
            callbacks.fail("LedgerBusy")

    return work


def notified(service: ObservedService, attempts: int, seconds: float = 40) -> Notification:
    """The notification of that attempt, once it has arrived."""
    service.wait_for(lambda s: len(s.received) >= attempts, seconds, f"attempt {attempts}")
    notification = service.received[attempts - 1].notification
    assert notification["attempt"] == attempts
    return notification


def retry(on: tuple[str, ...] = ("fail",), max_attempts: int = 2, interval_seconds: int = 2) -> Json:
    return {"max_attempts": max_attempts, "interval_seconds": interval_seconds, "on": list(on)}


def wait_between_attempts(scenario: Scenario, at_ms: int) -> Json:
    """The execution, once an attempt has ended and the next has not begun."""

    def look() -> Json | None:
        found = scenario.execution("a", at_ms)
        return found if found and "next_attempt_at" in found else None

    return poll(look, 40, "end of an attempt")


def states_entered(scenario: Scenario, at_ms: int) -> list[str]:
    """The states that the execution's state machine has entered. AWS bills these."""
    details = [event.get("stateEnteredEventDetails") for event in scenario.machine_events("a", at_ms)]
    return [found["name"] for found in details if found]


def test_a_failed_job_is_retried_and_keeps_its_lock(scenario: Scenario) -> None:
    released = threading.Event()

    def work(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
        if notification["attempt"] == 2:
            released.wait(MOST_SECONDS_HELD)
        fails_until(2)(notification, callbacks, pause)

    with scenario.service(work=work) as service:
        target = service.webhook_url("a")
        scenario.put("a", invocation_target=target, exclusive=True, retry=retry(interval_seconds=patient(5)))
        at_ms = scenario.tick()
        identifier = scenario.execution_id("a", at_ms)
        waiting = wait_between_attempts(scenario, at_ms)
        assert (waiting["status"], waiting["attempt"]) == ("running", 1)
        job = scenario.job("a")
        assert (job["lock_execution"], job["lock_expires_at"] > waiting["next_attempt_at"]) == (
            identifier,
            True,
        )
        other = scenario.tick(at_ms + 60_000)
        scenario.wait_until("a", other, "skipped")
        released.set()
        execution = scenario.wait_until("a", at_ms, "success")
        assert [(made["attempt"], made["status"]) for made in execution["attempts"]] == [
            (1, "fail"),
            (2, "success"),
        ]
        assert execution["attempts"][0]["error"] == "LedgerBusy"
        first, second = (received.notification for received in service.received)
        assert first["callback_url"] != second["callback_url"]
        assert first["fencing_token"] == second["fencing_token"] == execution["fencing_token"]
        ids = [received.webhook.headers["webhook-id"] for received in service.received if received.webhook]
        assert ids == [identifier, f"{identifier}-2"]
        assert scenario.machine("a", at_ms)["status"] == "SUCCEEDED"
        assert states_entered(scenario, at_ms) == ["RunJob", "WaitForNextAttempt", "RunJob"]
        assert "lock_execution" not in scenario.job("a")
        assert scenario.job("a")["last_successful_execution"]["state"] == "kept"


def test_an_execution_ends_as_its_last_attempt_when_all_are_used(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=fails_until(9)) as service:
        scenario.put("a", retry=retry(max_attempts=3, interval_seconds=1))
        at_ms = scenario.tick()
        execution = scenario.wait_until("a", at_ms, "fail")
        assert [(made["status"], made["summary"]) for made in execution["attempts"]] == [
            ("fail", "attempt 1"),
            ("fail", "attempt 2"),
            ("fail", "attempt 3"),
        ]
        assert (execution["attempt"], execution["error"]) == (3, "LedgerBusy")
        machine = scenario.machine("a", at_ms)
        assert (machine["status"], machine["error"]) == ("FAILED", "LedgerBusy")
        assert len(service.received) == 3


@pytest.mark.slow
def test_a_timeout_is_retried_if_the_job_asks_for_it_and_late_callbacks_are_refused(
    scenario: Scenario,
) -> None:
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put("a", exclusive=True, ttl_seconds=patient(10), retry=retry(on=("timeout",)))
        at_ms = scenario.tick()
        first = notified(service, 1)
        waiting = wait_between_attempts(scenario, at_ms)
        assert [made["status"] for made in waiting["attempts"]] == ["timeout"]
        between = scenario.callback(first["callback_url"], {"status": "success"})
        assert (between.status, between.body["execution_status"]) == (410, "running")
        second = notified(service, 2)
        bodies: tuple[Any, ...] = ({"status": "processing"}, {"status": "success"}, {"status": "fail"})
        late = [scenario.callback(first["callback_url"], body).status for body in bodies]
        assert late == [410, 410, 410]
        answer = scenario.callback(second["callback_url"], {"status": "success", "state": "second"})
        assert (answer.status, answer.body["attempt"]) == (200, 2)
        execution = scenario.wait_until("a", at_ms, "success")
        assert (execution["state"], [made["status"] for made in execution["attempts"]]) == (
            "second",
            ["timeout", "success"],
        )
        assert scenario.machine("a", at_ms)["status"] == "SUCCEEDED"
        assert states_entered(scenario, at_ms) == [
            "RunJob",
            "SettleExecution",
            "HowDidItEnd",
            "WaitForNextAttempt",
            "RunJob",
        ]


def test_a_timeout_is_not_retried_if_only_failures_are(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put("a", ttl_seconds=patient(10), retry=retry())
        at_ms = scenario.tick()
        execution = scenario.wait_until("a", at_ms, "timeout")
        assert [made["status"] for made in execution["attempts"]] == ["timeout"]
        assert len(service.received) == 1


@pytest.mark.slow(0.3)
def test_a_repeated_failure_is_answered_again_and_does_not_affect_the_next_attempt(
    scenario: Scenario,
) -> None:
    with scenario.service(over_sns=True, work=is_silent) as service:
        interval = patient(15)
        scenario.put("a", ttl_seconds=600, retry=retry(interval_seconds=interval))
        at_ms = scenario.tick()
        first = notified(service, 1)
        failure = {"status": "fail", "error": "LedgerBusy"}
        answers = [scenario.callback(first["callback_url"], failure) for _ in range(2)]
        assert [(answer.status, "next_attempt_at" in answer.body) for answer in answers] == [(200, True)] * 2
        second = notified(service, 2, interval + 40)
        assert scenario.callback(first["callback_url"], failure).status == 200
        assert scenario.callback(second["callback_url"], {"status": "success"}).status == 200
        assert scenario.machine("a", at_ms)["status"] == "SUCCEEDED"


def test_an_execution_can_be_cancelled_between_two_attempts(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=fails_until(2)) as service:
        scenario.put("a", exclusive=True, retry=retry(interval_seconds=600))
        at_ms = scenario.tick()
        waiting = wait_between_attempts(scenario, at_ms)
        path = scenario.job_path("a", "executions", waiting["execution_id"], "cancel")
        answer = scenario.api.request("POST", path, {"reason": "the ledger is closed"})
        assert (answer.status, answer.body["status"]) == (200, "cancelled")
        assert "lock_execution" not in scenario.job("a")
        assert scenario.machine("a", at_ms)["status"] == "ABORTED"
        execution = scenario.wait_until("a", at_ms, "cancelled")
        assert [made["status"] for made in execution["attempts"]] == ["fail"]
        assert len(service.received) == 1


@pytest.mark.parametrize("work", [is_silent, fails_until(2)], ids=["during an attempt", "between two"])
def test_an_execution_that_is_cancelled_after_its_lock_has_passed_on_frees_no_other_lock(
    scenario: Scenario, work: Work
) -> None:
    with scenario.service(over_sns=True, work=work) as service:
        scenario.put("a", exclusive=True, retry=retry(interval_seconds=30))
        at_ms = scenario.tick()
        service.wait_for(lambda s: len(s.received) == 1, 30, "the notification")
        if work is not is_silent:
            wait_between_attempts(scenario, at_ms)
        other = scenario.execution_id("a", at_ms + 60_000)
        scenario.pass_lock_on("a", other)
        path = scenario.job_path("a", "executions", scenario.execution_id("a", at_ms), "cancel")
        assert scenario.api.request("POST", path).status == 200
        scenario.wait_until("a", at_ms, "cancelled")
        scenario.machine("a", at_ms)
        assert scenario.job("a")["lock_execution"] == other
        scenario.free_lock("a")


@pytest.mark.slow(0.3)
def test_after_a_delete_no_further_attempt_is_sent_even_if_the_job_is_created_again(
    scenario: Scenario,
) -> None:
    with scenario.service(over_sns=True, work=fails_until(2)) as service:
        interval = patient(15)
        scenario.put("a", exclusive=True, retry=retry(interval_seconds=interval))
        created_at = scenario.job("a")["created_at"]
        at_ms = scenario.tick()
        wait_between_attempts(scenario, at_ms)
        poll(lambda: iso(now_ms()) > created_at, 5, "another second")
        assert scenario.api.request("DELETE", scenario.job_path("a")).status == 204
        scenario.put("a", exclusive=True)
        execution = scenario.wait_until("a", at_ms, "cancelled", seconds=interval + 60)
        assert execution["reason"]["code"] == "job_deleted"
        assert [made["status"] for made in execution["attempts"]] == ["fail"]
        assert len(service.received) == 1
        poll(lambda: "lock_execution" not in scenario.job("a"), 10, "free lock")
        machine = scenario.machine("a", at_ms)
        assert (machine["status"], machine["error"]) == ("FAILED", "Job.Cancelled")


def test_a_pause_lets_a_running_execution_finish_its_attempts(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=fails_until(2)):
        interval = patient(5)
        scenario.put("a", exclusive=True, retry=retry(interval_seconds=interval))
        at_ms = scenario.tick()
        wait_between_attempts(scenario, at_ms)
        answer = scenario.api.request("POST", scenario.job_path("a", "pause"), {"reason": "audit"})
        assert answer.status == 200
        execution = scenario.wait_until("a", at_ms, "success", seconds=interval + 60)
        assert [made["status"] for made in execution["attempts"]] == ["fail", "success"]


def test_an_execution_cancelled_between_attempts_is_the_jobs_last_because_it_ended_last(
    scenario: Scenario,
) -> None:
    with scenario.service(over_sns=True, work=fails_once()):
        scenario.put("a", retry=retry(interval_seconds=120))
        older = scenario.tick()
        waiting = wait_between_attempts(scenario, older)
        newer = scenario.tick(older + 1000)
        scenario.wait_until("a", newer, "success")
        path = scenario.job_path("a", "executions", waiting["execution_id"], "cancel")
        assert scenario.api.request("POST", path).status == 200
        scenario.wait_until("a", older, "cancelled")
        job = scenario.job("a")
        assert job["last_execution"]["execution_id"] == scenario.execution_id("a", older)
        assert job["last_successful_execution"]["execution_id"] == scenario.execution_id("a", newer)


def test_a_sync_job_that_is_rejected_is_retried(scenario: Scenario) -> None:
    with scenario.service() as service:
        service.script_answers(422)
        fields: dict[str, Any] = {"async": False, "invocation_target": service.webhook_url("a")}
        scenario.put("a", retry=retry(), **fields)
        at_ms = scenario.tick()
        execution = scenario.wait_until("a", at_ms, "success")
        assert [(made["status"], made.get("error")) for made in execution["attempts"]] == [
            ("fail", "Job.NotificationRejected"),
            ("success", None),
        ]
