"""Concurrent changes of one job take effect one after the other and never mix."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from local.api_client import ApiResponse
from tests.integration.scenario import Scenario, own_schedule

ROUNDS = 6
COMPARED = ("schedule", "payload", "owner", "description", "tags", "ttl_seconds")


def definition(name: str, schedule: str, ttl_seconds: int) -> dict[str, Any]:
    return {
        "schedule": schedule,
        "payload": name * 1000,
        "owner": name,
        "description": f"as {name} wants it",
        "tags": {name: name},
        "ttl_seconds": ttl_seconds,
    }


def stage_schedules(scenario: Scenario) -> set[str]:
    pages = scenario.aws.client("events").get_paginator("list_rules")
    found = pages.paginate(NamePrefix=f"{scenario.outputs['prefix']}-schedule-").build_full_result()["Rules"]
    return {rule["ScheduleExpression"] for rule in found}


def at_once(scenario: Scenario, bodies: list[dict[str, Any]], **headers: str) -> list[ApiResponse]:
    """PUTs all bodies at the same moment."""
    barrier = threading.Barrier(len(bodies))

    def put(body: dict[str, Any]) -> ApiResponse:
        barrier.wait()
        whole = {"invocation_type": "sns", **body}
        return scenario.api.request("PUT", scenario.job_path("a"), whole, headers=headers)

    with ThreadPoolExecutor(len(bodies)) as threads:
        return list(threads.map(put, bodies))


def test_concurrent_puts_of_one_job_never_mix(scenario: Scenario) -> None:
    bodies = [definition("ann", own_schedule(), 60), definition("bob", own_schedule(), 90)]
    for _ in range(ROUNDS):
        answers = at_once(scenario, bodies)
        assert {answer.status for answer in answers} <= {200, 201}, answers
        job = scenario.job("a")
        whole = {name: job[name] for name in COMPARED}
        assert whole in bodies
        mine = {body["schedule"] for body in bodies}
        assert stage_schedules(scenario) & mine == {job["schedule"]}
    assert scenario.job("a")["version"] >= ROUNDS
    scenario.delete("a")
    assert not stage_schedules(scenario) & {body["schedule"] for body in bodies}


def test_one_of_two_concurrent_puts_with_the_same_if_match_is_refused(scenario: Scenario) -> None:
    scenario.put("a")
    bodies = [definition("ann", own_schedule(), 60), definition("bob", own_schedule(), 90)]
    for _ in range(ROUNDS // 2):
        seen = scenario.api.request("GET", scenario.job_path("a"))
        assert seen.headers["etag"] == f'"{seen.body["version"]}"'
        # A PUT of the current definition changes nothing, so it is never refused. These bodies always differ.
        fresh = [{**body, "payload": f"{body['owner']} after {seen.body['version']}"} for body in bodies]
        answers = at_once(scenario, fresh, **{"if-match": seen.headers["etag"]})
        assert sorted(answer.status for answer in answers) == [200, 412]
        (refused,) = (answer.body for answer in answers if answer.status == 412)
        (made,) = (answer for answer in answers if answer.status == 200)
        assert refused["version"] == seen.body["version"] + 1
        assert made.headers["etag"] == f'"{refused["version"]}"'
        job = scenario.job("a")
        assert job["payload"] == made.body["payload"]
        assert stage_schedules(scenario) & {body["schedule"] for body in bodies} == {job["schedule"]}
    stale = scenario.api.request("DELETE", scenario.job_path("a"), headers={"if-match": '"1"'})
    assert (stale.status, stale.body["type"]) == (412, "/problems/precondition-failed")
    scenario.delete("a")
