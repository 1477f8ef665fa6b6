"""Many executions are rerun or cancelled by one request, on a real stage."""

import time
from typing import Any
from urllib.parse import quote

import pytest

from jobmanager.core.clock import iso
from local.api_client import ManagerApi
from tests.integration.conftest import UserWith, required
from tests.integration.polling import poll
from tests.integration.scenario import Json, Scenario, fails, is_silent


def ask(scenario: Scenario, what: str, body: Json, of_service: bool = True, key: str | None = None) -> Json:
    path = f"/services/{scenario.service_name}/executions/{what}" if of_service else f"/executions/{what}"
    answer = scenario.api.request("POST", path, body, {"idempotency-key": key} if key else None)
    assert answer.status == 200, answer
    found: Json = answer.body
    return found


def ended_as(scenario: Scenario, job_name: str, count: int, status: str, first: int = 0) -> list[str]:
    """Delivers ticks, and waits until their executions have this status. Returns their ids."""
    at_ms = scenario.tick_time()
    ticks = [scenario.tick(at_ms + 1000 * (first + number)) for number in range(count)]
    for tick in ticks:
        scenario.wait_until(job_name, tick, status)
    return [scenario.execution_id(job_name, tick) for tick in ticks]


def outcomes(answer: Json) -> dict[str, str]:
    return {each["execution_id"]: each["outcome"] for each in answer["results"]}


@pytest.mark.parametrize("workflow_type", ["standard", "express"])
def test_what_failed_is_rerun_once_and_linked(scenario: Scenario, workflow_type: str) -> None:
    since = iso(scenario.tick_time() - 60_000)
    with scenario.service(over_sns=True, work=fails) as service:
        scenario.put("a", workflow_type=workflow_type, exclusive=False)
        names = ended_as(scenario, "a", 3, "fail")
        search = {"job_name": "a", "since": since, "until": iso(scenario.tick_time() + 60_000)}

        def look() -> Json | None:
            found = ask(scenario, "rerun", {**search, "dry_run": True})
            return found if len(found["results"]) == 3 else None

        rehearsal = poll(look, 30, "the failures in the history")
        assert outcomes(rehearsal) == dict.fromkeys(names, "planned")
        of_all_jobs = ask(scenario, "rerun", {"since": since, "until": search["until"], "dry_run": True})
        assert outcomes(of_all_jobs) == outcomes(rehearsal)
        first = ask(scenario, "rerun", {**search, "limit": 2})
        second = ask(scenario, "rerun", {**search, "limit": 2, **first["paging"]})
        assert {**outcomes(first), **outcomes(second)} == dict.fromkeys(names, "rerun")
        reruns = {each["execution_id"]: each["rerun"] for each in first["results"] + second["results"]}
        service.wait_for(lambda s: len(s.received) >= 6, 60, "the reruns")
        for name, rerun in reruns.items():
            path = scenario.job_path("a", "executions")
            assert scenario.api.request("GET", f"{path}/{rerun}").body["rerun_of"] == name
            assert scenario.api.request("GET", f"{path}/{name}").body["reruns"] == [rerun]
        again = ask(scenario, "rerun", {"execution_ids": names})
        assert outcomes(again) == dict.fromkeys(names, "left")
        time.sleep(2)
        assert len(service.received) == 6


def test_reruns_of_a_job_that_became_exclusive_wait_for_no_lock_that_nobody_has(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=fails):
        scenario.put("a")
        names = ended_as(scenario, "a", 1, "fail")
        scenario.put("a", exclusive=True)
        answer = ask(scenario, "rerun", {"execution_ids": names, "again": True}, key="once")
        assert outcomes(answer) == dict.fromkeys(names, "rerun")
        same = ask(scenario, "rerun", {"execution_ids": names, "again": True}, key="once")
        assert same["results"][0]["rerun"] == answer["results"][0]["rerun"]


def test_all_that_runs_of_a_service_is_cancelled_and_its_callbacks_refused(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put("a")
        scenario.put("b", workflow_type="express")
        ticks = [scenario.tick(scenario.tick_time() + 1000 * number) for number in range(2)]
        service.wait_for(lambda s: len(s.received) == 4, 60, "four notifications")
        names = [scenario.execution_id(job, tick) for job in ("a", "b") for tick in ticks]
        poll(lambda: len(ask(scenario, "cancel", {"dry_run": True})["results"]) == 4, 30, "four that run")
        first = ask(scenario, "cancel", {"dry_run": True, "limit": 3})
        second = ask(scenario, "cancel", {"dry_run": True, "limit": 3, **first["paging"]})
        assert outcomes(first) | outcomes(second) == dict.fromkeys(names, "planned")
        of_a = ask(scenario, "cancel", {"dry_run": True, "job_name": "a"})
        assert outcomes(of_a) == dict.fromkeys(names[:2], "planned")
        answer = ask(scenario, "cancel", {"reason": "wrong ledger"})
        assert outcomes(answer) == dict.fromkeys(names, "cancelled")
        for received in service.received:
            late = scenario.callback(received.notification["callback_url"], {"status": "success"})
            assert (late.status, late.body["execution_status"]) == (410, "cancelled")
        shown = scenario.history("a")
        assert {each["status"] for each in shown} == {"cancelled"}
        assert shown[0]["cause"].endswith(": wrong ledger")
        assert outcomes(ask(scenario, "cancel", {"execution_ids": names})) == dict.fromkeys(
            names, "cancelled"
        )


def test_an_execution_that_has_lost_its_lock_is_cancelled_and_frees_no_other(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put("a", exclusive=True)
        name = scenario.execution_id("a", scenario.tick())
        service.wait_for(lambda s: len(s.received) == 1, 60, "the notification")
        scenario.pass_lock_on("a", "another")
        assert outcomes(ask(scenario, "cancel", {"execution_ids": [name]})) == {name: "cancelled"}
        scenario.free_lock("a")


def test_an_execution_between_two_attempts_is_cancelled_and_its_machine_stopped(scenario: Scenario) -> None:
    retry = {"max_attempts": 2, "interval_seconds": 600}
    with scenario.service(over_sns=True, work=fails):
        scenario.put("a", retry=retry)
        at_ms = scenario.tick()

        def look() -> bool:
            found = scenario.execution("a", at_ms)
            return found is not None and "next_attempt_at" in found

        poll(look, 60, "the wait for the second attempt")
        name = scenario.execution_id("a", at_ms)
        assert outcomes(ask(scenario, "cancel", {"execution_ids": [name]})) == {name: "cancelled"}
        assert scenario.machine("a", at_ms)["status"] == "ABORTED"


def test_the_whole_stage_is_searched_by_its_days_and_by_what_started_late(scenario: Scenario) -> None:
    """Dry runs only, because other tests run on this stage."""
    since_ms = scenario.tick_time() - 3_600_000
    with scenario.service(over_sns=True, work=fails):
        scenario.put("a")
        scenario.set_back("a")
        late = scenario.tick(scenario.tick_time() - 120_000)
        scenario.wait_until("a", late, "fail")
    name = scenario.execution_id("a", late)
    for what, body in (("rerun", {"since": iso(since_ms)}), ("cancel", {"since": iso(since_ms)})):
        for by in ("scheduled_time", "started_at"):
            found: dict[str, str] = {}
            more: dict[str, Any] = {}
            while True:
                search = {**body, "by": by, "dry_run": True, "limit": 1 if not found else 1000, **more}
                answer = ask(scenario, what, search, of_service=False)
                found |= outcomes(answer)
                more = answer["paging"]
                if not more:
                    break
            assert (name in found) == (what == "rerun")


def test_a_service_may_act_on_its_own_executions_and_on_no_others(
    scenario: Scenario, user_with: UserWith
) -> None:
    """The role of another service, as docs/integrate.md has it."""
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put("a")
        at_ms = scenario.tick()
        service.wait_for(lambda s: len(s.received) == 1, 60, "the notification")
        other = f"{scenario.service_name}-other"
        statement = {
            "Effect": "Allow",
            "Action": "execute-api:Invoke",
            "Resource": f"arn:aws:execute-api:*:*:*/*/*/services/{other}/*",
        }
        # These answers are not checked against the document: the emulator's IAM has its own wording.
        api = ManagerApi(scenario.outputs["api_url"], user_with(statement), required("AWS_DEFAULT_REGION"))
        name = scenario.execution_id("a", at_ms)
        body = {"execution_ids": [name]}
        mine, theirs = (quote(each, safe="") for each in (other, scenario.service_name))
        assert api.request("POST", f"/services/{theirs}/executions/cancel", body).status == 403
        assert api.request("POST", "/executions/cancel", body).status == 403
        assert api.request("POST", "/executions/rerun", body).status == 403
        answer = api.request("POST", f"/services/{mine}/executions/cancel", body)
        assert (answer.status, outcomes(answer.body)) == (200, {name: "left"})
        answer = api.request(
            "POST", f"/services/{mine}/executions/cancel", {**body, "service_name": scenario.service_name}
        )
        assert answer.status == 400
        found = scenario.execution("a", at_ms)
        assert found is not None
        assert found["status"] == "running"
        assert outcomes(ask(scenario, "cancel", {})) == {name: "cancelled"}
