"""Jobs that run after others: in lines and diamonds, of both workflow types, whatever settles the run."""

import json
from typing import Any

import pytest

from local.sample_service import Callbacks, Notification, Pause
from tests.integration.polling import patient, poll
from tests.integration.published_events import PublishedEvents
from tests.integration.scenario import Json, Scenario, fails, is_silent
from tests.integration.sweeps import reap_expired
from tests.unit.functions.target import Wire

pytestmark = pytest.mark.slow
SECONDS = 120
TYPES = ("standard", "express")


def tells_its_name(notification: Notification, callbacks: Callbacks, pause: Pause) -> None:
    """A service whose state is the name of its job."""
    callbacks.success(state=notification["job_name"])


def chained(scenario: Scenario, job_name: str, *parents: Any, **fields: Any) -> Json:
    after = [{"job": each} if isinstance(each, str) else each for each in parents]
    answer = scenario.put(job_name, schedule=None, after=after, **fields)
    body: Json = answer.body
    return body


def wait_for_run(scenario: Scenario, job_name: str, status: str) -> Json:
    """Waits for the first execution of a job to end."""

    def look() -> Json | None:
        reap_expired(scenario)
        history = scenario.history(job_name)
        return history[0] if history and history[0]["status"] == status else None

    found: Json = poll(look, SECONDS, f"{status} of {job_name}")
    return found


def chain(scenario: Scenario, job_name: str, name: str) -> Json:
    answer = scenario.api.request("GET", scenario.job_path(job_name, "executions", name, "chain"))
    assert answer.status == 200, answer
    body: Json = answer.body
    return body


def end_again(scenario: Scenario, job_name: str, name: str) -> int:
    """Invokes start_children as a repeated settlement does; returns how many executions it starts."""
    ended = {"service_name": scenario.service_name, "job_name": job_name, "execution_id": name}
    answer = scenario.aws.client("lambda").invoke(
        FunctionName=scenario.outputs["function_names"]["start_children"], Payload=json.dumps(ended)
    )
    assert "FunctionError" not in answer
    return int(json.load(answer["Payload"])["started"])


@pytest.mark.parametrize(("first", "second"), [TYPES, TYPES[::-1]])
def test_a_line_of_three_runs_across_both_workflow_types(scenario: Scenario, first: str, second: str) -> None:
    with scenario.service(over_sns=True, work=tells_its_name) as service:
        scenario.put("a", workflow_type=first)
        chained(scenario, "b", "a", workflow_type=second)
        chained(scenario, "c", "b", workflow_type=first)
        at_ms = scenario.tick()
        last = wait_for_run(scenario, "c", "success")
        middle = wait_for_run(scenario, "b", "success")
        name = scenario.execution_id("a", at_ms)
        told = {each.job_name: each.notification for each in service.received}
        assert "parents" not in told["a"]
        assert told["b"]["parents"] == [{"job": "a", "execution_id": name, "status": "success", "state": "a"}]
        assert told["c"]["parents"][0]["state"] == "b"
        names = [name, middle["execution_id"], last["execution_id"]]
        for job_name, each in zip("abc", names, strict=True):
            seen = chain(scenario, job_name, each)
            assert [shown["execution_id"] for shown in seen["executions"]] == names
        assert [end_again(scenario, *each) for each in zip("ab", names[:2], strict=True)] == [0, 0]
        poll(lambda: len(service.callbacks) >= 3, SECONDS, "the callbacks")
        assert len(service.received) == 3
        assert [len(scenario.history(job_name)) for job_name in "abc"] == [1, 1, 1]


@pytest.mark.parametrize("workflow_type", TYPES)
def test_the_end_of_a_diamond_runs_once(scenario: Scenario, workflow_type: str) -> None:
    with scenario.service(over_sns=True, work=tells_its_name) as service:
        for name, parents in {"b": ["a"], "c": ["a"], "d": ["b", "c"]}.items():
            if name == "b":
                scenario.put("a", workflow_type=workflow_type)
            chained(scenario, name, *parents, workflow_type=workflow_type)
        at_ms = scenario.tick()
        last = wait_for_run(scenario, "d", "success")
        assert [parent["job"] for parent in last["parents"]] == ["b", "c"]
        assert {parent["state"] for parent in service.received[-1].notification["parents"]} == {"b", "c"}
        for parent in last["parents"]:
            assert end_again(scenario, parent["job"], parent["execution_id"]) == 0
        assert len(scenario.history("d")) == 1
        seen = chain(scenario, "d", last["execution_id"])
        assert seen["roots"] == [scenario.execution_id("a", at_ms)]
        assert [each["job_name"] for each in seen["executions"]] == ["a", "b", "c", "d"]


def test_a_failure_starts_only_what_is_to_run_after_failures(scenario: Scenario) -> None:
    with scenario.service(over_sns=True, work=fails):
        scenario.put("a")
        chained(scenario, "after-success", "a")
        chained(scenario, "after-failure", {"job": "a", "on": ["fail"]})
        scenario.tick()
        wait_for_run(scenario, "after-failure", "fail")
        assert scenario.history("after-success") == []


@pytest.mark.parametrize("workflow_type", TYPES)
def test_a_timeout_is_followed(scenario: Scenario, workflow_type: str) -> None:
    """finish_execution settles that of a Standard execution, and reap_executions that of an Express one."""
    with scenario.service(over_sns=True, work=is_silent):
        scenario.put("a", ttl_seconds=patient(10), workflow_type=workflow_type)
        chained(scenario, "b", {"job": "a", "on": ["timeout"]})
        scenario.tick()
        wait_for_run(scenario, "b", "running")


def test_what_a_sync_job_answers_is_followed(scenario: Scenario) -> None:
    """run_execution settles it."""
    with scenario.service(), Wire([b"HTTP/1.1 404 Not Found\r\n\r\n"]) as target:
        sync: Json = {"async": False, "ttl_seconds": 10}
        scenario.put("a", invocation_target=target.url, **sync)
        chained(scenario, "b", {"job": "a", "on": ["fail"]})
        scenario.tick()
        wait_for_run(scenario, "b", "running")


@pytest.mark.parametrize("is_bulk", [False, True])
def test_a_cancellation_is_followed(scenario: Scenario, is_bulk: bool) -> None:
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put("a")
        chained(scenario, "b", {"job": "a", "on": ["cancelled"]})
        name = scenario.execution_id("a", scenario.tick())
        service.wait_for(lambda s: len(s.received) == 1, SECONDS, "the notification")
        path = scenario.job_path("a", "executions", name, "cancel")
        if is_bulk:
            path = f"/services/{scenario.service_name}/executions/cancel"
        body: Json = {"execution_ids": [name], "reason": "enough"} if is_bulk else {"reason": "enough"}
        answer = scenario.api.request("POST", path, body)
        assert answer.status == 200, answer
        wait_for_run(scenario, "b", "running")


def refusal(scenario: Scenario, job_name: str, *parents: str) -> Json:
    after = [{"job": parent} for parent in parents]
    answer = scenario.put(job_name, expected=(400,), schedule=None, after=after)
    (error,) = answer.body["errors"]
    found: Json = error
    return found


def test_a_circle_is_refused_and_shows_itself(scenario: Scenario) -> None:
    scenario.put("a")
    chained(scenario, "b", "a")
    chained(scenario, "c", "b")
    assert refusal(scenario, "a", "c") == {
        "pointer": "/after/0/job",
        "detail": "expected no circle, but it is one: a after c after b after a",
    }
    assert refusal(scenario, "d", "nobody")["pointer"] == "/after/0/job"
    assert scenario.job("a")["schedule"] == scenario.schedule


def test_a_chain_of_twenty_one_jobs_is_refused(scenario: Scenario) -> None:
    scenario.put("job-1")
    for number in range(2, 21):
        chained(scenario, f"job-{number}", f"job-{number - 1}")
    assert "at most 20 jobs" in refusal(scenario, "job-21", "job-20")["detail"]


def test_the_owner_of_an_orphan_is_told(scenario: Scenario, published: PublishedEvents) -> None:
    scenario.put("a")
    chained(scenario, "b", "a", owner="team-b")
    scenario.delete("a")
    event = published.wait_for("job.orphaned")
    assert (event["job_name"], event["parent"], event["owner"]) == ("b", "a", "team-b")
    assert scenario.job("b")["orphaned_by"] == ["a"]
    scenario.put("a")
    assert "orphaned_by" not in scenario.job("b")


def test_a_job_leaves_its_schedule_for_a_chain_and_comes_back(scenario: Scenario) -> None:
    scenario.put("a")
    scenario.put("b")
    chained(scenario, "b", "a")
    scenario.delete("a")
    poll(lambda: scenario.rules() == [], 30, "no rule")
    scenario.put("b")
    assert len(scenario.rules()) == 1


def test_a_late_tick_of_a_former_schedule_is_skipped(scenario: Scenario) -> None:
    scenario.put("a")
    scenario.put("b")
    due = {"service_name": scenario.service_name, "job_name": "b", "schedule": scenario.schedule}
    chained(scenario, "b", "a")
    found = scenario.wait_until("b", scenario.start(due), "skipped")
    assert found["reason"]["code"] == "schedule_changed"
