"""The HTTP API: access, refusals and their reasons, lists and searches."""

from typing import Any

import pytest
from botocore.credentials import Credentials

from jobmanager.core.clock import iso
from tests.integration.contract import CheckedApi
from tests.integration.scenario import Scenario

OPEN_ROUTES = {"POST /callback/{callback_token}", "GET /openapi.json"}


def test_unsigned_requests_and_unknown_callers_are_refused(
    aws: Any, api: CheckedApi, outputs: dict[str, Any]
) -> None:
    unknown = Credentials("AKIAUNKNOWN000000000", "secret")
    stranger = CheckedApi(outputs["api_url"], unknown, "us-east-1", api.contract)
    gateway = aws.client("apigatewayv2")
    (stage,) = [found for found in gateway.get_apis()["Items"] if found["ApiId"] in outputs["api_url"]]
    routes = {route["RouteKey"] for route in gateway.get_routes(ApiId=stage["ApiId"])["Items"]}
    assert routes > OPEN_ROUTES
    for route in routes - OPEN_ROUTES:
        method, _, path = route.partition(" ")
        path = path.replace("{", "").replace("}", "")
        body: Any = {} if method in ("PUT", "POST") else None
        assert api.unsigned_request(method, path, body).status == 403, route
        assert stranger.request(method, path, body).status == 403, route


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"schedule": None}, "/schedule"),
        ({"invocation_type": None}, "/invocation_type"),
        ({"invocation_type": "http"}, "/invocation_target"),
        ({"ttl_seconds": "300"}, "/ttl_seconds"),
        ({"ttl_seconds": 9}, "/ttl_seconds"),
        ({"ttl_seconds": 43_201}, "/ttl_seconds"),
        ({"payload": "x" * 32_769}, "/payload"),
        ({"payload": "x" * 300_000}, "/payload"),
        ({"retries": 3}, "/retries"),
        ({"schedule": "rate(5 minute)"}, "/schedule"),
    ],
)
def test_an_invalid_job_is_answered_with_400_and_the_field(
    scenario: Scenario, change: dict[str, Any], pointer: str
) -> None:
    answer = scenario.put("a", expected=(400,), **change)
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in answer.body["errors"]] == [pointer]
    assert answer.body["type"] == "/problems/bad-request"
    assert scenario.api.request("GET", scenario.job_path("a")).status == 404


def test_a_body_that_is_not_a_job_is_refused(scenario: Scenario) -> None:
    path = scenario.job_path("a")
    for body in (b"{", b"[]", b'"job"', b""):
        headers = {"content-type": "application/json"}
        assert scenario.api.request("PUT", path, body, headers).status == 400
    assert scenario.api.request("PUT", path, b"{}", {"content-type": "text/plain"}).status == 415


def test_invalid_names_are_refused(scenario: Scenario) -> None:
    for name in ("a b", "ü", "x" * 65, "x" * 3000):
        answer = scenario.put(name, expected=(400,))
        assert [error["pointer"] for error in answer.body["errors"]] == ["/job_name"]


def test_a_job_records_who_changed_it_and_when(scenario: Scenario) -> None:
    scenario.put("a")
    job = scenario.job("a")
    assert ":user/sjm-test-" in job["updated_by"]
    assert job["created_at"] == job["updated_at"]
    assert job["version"] == 1


def test_jobs_are_listed_and_searched(scenario: Scenario) -> None:
    for name in ("a", "b", "c"):
        scenario.put(name, enabled=False)
    path = f"/services/{scenario.service_name}/jobs"
    listed = scenario.api.request("GET", path)
    assert [job["job_name"] for job in listed.body["results"]] == ["a", "b", "c"]
    assert listed.body["paging"] == {}
    first = scenario.api.request("GET", path, query={"limit": 2})
    more = first.body["paging"]["more"]
    rest = scenario.api.request("GET", path, query={"limit": 2, "more": more})
    assert [job["job_name"] for job in first.body["results"] + rest.body["results"]] == ["a", "b", "c"]
    wanted = {"service_name": [scenario.service_name], "job_name": ["b", "c", "z"]}
    searched = scenario.api.request("POST", "/jobs", wanted)
    assert [job["job_name"] for job in searched.body["results"]] == ["b", "c"]
    by_guid = scenario.api.request("POST", "/jobs", {"job_guid": scenario.job("a")["job_guid"]})
    assert [job["job_name"] for job in by_guid.body["results"]] == ["a"]
    assert scenario.api.request("GET", "/jobs", query={"limit": 1}).status == 200
    assert scenario.api.request("POST", "/jobs", {"colour": "red"}).status == 400


def test_jobs_are_found_by_owner_and_tags(scenario: Scenario) -> None:
    for name, team in (("a", "payments"), ("b", "payments"), ("c", "search")):
        scenario.put(name, enabled=False, owner=f"{team}@example.com", tags={"team": team, "tier": name})
    path = f"/services/{scenario.service_name}/jobs"

    def found(query: dict[str, str | int]) -> list[str]:
        return [job["job_name"] for job in scenario.api.request("GET", path, query=query).body["results"]]

    assert found({"tags[team]": "payments"}) == ["a", "b"]
    assert found({"tags[team]": "payments", "tags[tier]": "b"}) == ["b"]
    assert found({"owner": "search@example.com"}) == ["c"]
    several = scenario.api.request("GET", f"{path}?owner=nobody%2C%20really&owner=search%40example.com")
    assert [job["job_name"] for job in several.body["results"]] == ["c"]
    scenario.put("d", enabled=False, owner="Doe, Jane")
    assert found({"owner": "Doe, Jane"}) == ["d"]
    assert found({"owner": "search@example.com", "tags[team]": "payments"}) == []
    wanted = {"service_name": scenario.service_name, "tags": {"team": "payments"}, "limit": 1}
    first = scenario.api.request("POST", "/jobs", wanted).body
    again: dict[str, str | int] = {"tags[team]": "payments", "more": first["paging"]["more"]}
    assert [job["job_name"] for job in first["results"]] + found(again) == ["a", "b"]
    refused = scenario.api.request("GET", path, query={"service_name": scenario.service_name})
    assert (refused.status, refused.body["errors"][0]["pointer"]) == (400, "/service_name")


def test_the_history_by_start_has_a_late_tick_on_its_newest_page(scenario: Scenario) -> None:
    with scenario.service(over_sns=True):
        scenario.put("a", exclusive=False)
        scenario.set_back("a")
        newest_ms = scenario.tick()
        scenario.wait_until("a", newest_ms, "success")
        late_ms = scenario.tick(newest_ms - 86_400_000)
        scenario.wait_until("a", late_ms, "success")
    newest, late = (scenario.execution_id("a", at_ms) for at_ms in (newest_ms, late_ms))

    def history(path: str, **query: str | int) -> list[str]:
        results = scenario.api.request("GET", path, query=query).body["results"]
        return [each["execution_id"] for each in results]

    for path in (f"/services/{scenario.service_name}/executions", scenario.job_path("a", "executions")):
        assert history(path) == [newest, late]
        assert history(path, by="started_at") == [late, newest]
        assert history(path, by="started_at", limit=1, since=iso(newest_ms)) == [late]
    assert late in history("/executions", by="started_at", limit=100, since=iso(newest_ms))


def test_pages_do_not_shift_while_executions_arrive_and_refuse_another_search(
    scenario: Scenario,
) -> None:
    path = f"/services/{scenario.service_name}/executions"
    with scenario.service(over_sns=True):
        scenario.put("a", exclusive=False)
        scenario.set_back("a")
        newest_ms = scenario.tick_time()
        times = [newest_ms - 60_000 * back for back in range(5)]
        for at_ms in times:
            scenario.tick(at_ms)
        for at_ms in times:
            scenario.wait_until("a", at_ms, "success")
        found: list[str] = []
        query: dict[str, str | int] = {"limit": 2}
        while True:
            answer = scenario.api.request("GET", path, query=query).body
            found += [execution["execution_id"] for execution in answer["results"]]
            if "more" not in answer["paging"]:
                break
            query["more"] = answer["paging"]["more"]
            newer_ms = scenario.tick(newest_ms + 60_000 * len(found))
            scenario.wait_until("a", newer_ms, "success")
    assert found == [scenario.execution_id("a", at_ms) for at_ms in times]
    more = str(query["more"])
    posted = {"service_name": scenario.service_name, "more": more}
    same = scenario.api.request("POST", "/executions", posted)
    assert [each["execution_id"] for each in same.body["results"]] == found[-1:]
    for search in (
        posted | {"status": "success"},
        posted | {"service_name": "another"},
        posted | {"more": more[:-1]},
        posted | {"more": more[:120] + ("A" if more[120] != "A" else "B") + more[121:]},
    ):
        refused = scenario.api.request("POST", "/executions", search)
        assert refused.status == 400, search
        assert [error["pointer"] for error in refused.body["errors"]] == ["/more"]
    assert scenario.api.request("GET", "/jobs", query={"more": more}).status == 400


def test_history_is_listed_by_job_by_service_and_by_stage(scenario: Scenario) -> None:
    with scenario.service(over_sns=True):
        scenario.put("a")
        scenario.put("b", payload='{"do": "fail"}')
        at_ms = scenario.tick()
        scenario.wait_until("a", at_ms, "success")
        scenario.wait_until("b", at_ms, "fail")
    of_service = scenario.api.request("GET", f"/services/{scenario.service_name}/executions")
    assert {found["job_name"] for found in of_service.body["results"]} == {"a", "b"}
    failed = scenario.api.request(
        "POST", "/executions", {"service_name": scenario.service_name, "status": "fail"}
    )
    assert [found["job_name"] for found in failed.body["results"]] == ["b"]
    found_on_stage: set[str] = set()
    query: dict[str, str | int] = {"limit": 100, "since": iso(at_ms), "until": iso(at_ms + 1000)}
    while True:
        of_stage = scenario.api.request("GET", "/executions", query=query).body
        found_on_stage |= {found["execution_id"] for found in of_stage["results"]}
        if "more" not in of_stage["paging"]:
            break
        query["more"] = of_stage["paging"]["more"]
    assert {scenario.execution_id("a", at_ms), scenario.execution_id("b", at_ms)} <= found_on_stage


def test_a_deleted_job_keeps_its_history_and_can_be_created_again(scenario: Scenario) -> None:
    with scenario.service(over_sns=True):
        scenario.put("a")
        at_ms = scenario.tick()
        scenario.wait_until("a", at_ms, "success")
    scenario.delete("a")
    assert scenario.api.request("GET", scenario.job_path("a")).status == 404
    assert len(scenario.history("a")) == 1
    scenario.delete("a")
    assert scenario.api.request("DELETE", scenario.job_path("never-was")).status == 404
    scenario.put("a", expected=(201,))
    assert scenario.job("a")["last_successful_execution"]["status"] == "success"
