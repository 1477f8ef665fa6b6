"""Limits on a stage, where each function runs with its own role."""

import json
import time

import pytest

from local.api_client import ApiResponse
from tests.integration.scenario import Json, Scenario, is_silent


def delete(scenario: Scenario, name: str, **headers: str) -> ApiResponse:
    return scenario.api.request("DELETE", scenario.limit_path(name), headers=headers)


def write(scenario: Scenario, name: str, update: str, **values: Json) -> None:
    """Writes attributes as executions do."""
    scenario.aws.client("dynamodb").update_item(
        TableName=scenario.outputs["limits_table_name"],
        Key={"service_name": {"S": scenario.service_name}, "limit_name": {"S": name}},
        UpdateExpression=update,
        ExpressionAttributeValues={f":{value}": item for value, item in values.items()},
    )


def test_limits_are_created_changed_listed_and_deleted(scenario: Scenario) -> None:
    created = scenario.put_limit("db-main", (201,), slots=3, description="connections")
    assert created.headers["etag"] == '"1"'
    assert ":user/" in created.body["updated_by"]
    assert scenario.put_limit("db-main", (200,), slots=3, description="connections").body == created.body
    changed = scenario.put_limit("db-main", (200,), per_second=10)
    assert (changed.headers["etag"], "slots" in changed.body) == ('"2"', False)
    assert scenario.limit("db-main") == changed.body
    scenario.put_limit("api", (201,), slots=1, per_second=1)

    first = scenario.api.request("GET", scenario.limit_path(), query={"limit": 1})
    assert [each["limit_name"] for each in first.body["results"]] == ["api"]
    more = first.body["paging"]["more"]
    second = scenario.api.request("GET", scenario.limit_path(), query={"limit": 1, "more": more})
    assert (second.body["results"], second.body["paging"]) == ([changed.body], {})

    for name in ("api", "db-main"):
        assert delete(scenario, name).status == 204
        assert delete(scenario, name).status == 404
    assert scenario.api.request("GET", scenario.limit_path()).body == {"results": [], "paging": {}}


def test_a_change_applies_only_to_the_version_that_its_caller_saw(scenario: Scenario) -> None:
    def conditional(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = scenario.api.request("PUT", scenario.limit_path("db-main"), {"slots": 2}, headers=named)
        return answer.status

    assert conditional(if_match='"1"') == 412
    assert conditional(if_none_match="*") == 201
    assert conditional(if_none_match="*") == 412
    scenario.put_limit("db-main", (200,), slots=3)
    assert conditional(if_match='"1"') == 412
    assert delete(scenario, "db-main", **{"if-match": '"1"'}).status == 412
    assert conditional(if_match='"2"') == 200
    assert delete(scenario, "db-main", **{"if-match": '"3"'}).status == 204


@pytest.mark.parametrize(
    ("body", "pointer"), [({}, ""), ({"slots": 101}, "/slots"), ({"per_second": 0}, "/per_second")]
)
def test_what_is_no_limit_is_refused(scenario: Scenario, body: Json, pointer: str) -> None:
    answer = scenario.api.request("PUT", scenario.limit_path("db-main"), body)

    assert (answer.status, answer.body["errors"][0]["pointer"]) == (400, pointer)


def test_a_job_names_a_limit_that_exists_and_is_then_not_deleted(scenario: Scenario) -> None:
    refused = scenario.put("nightly", expected=(400,), limit="db-main")
    assert [error["pointer"] for error in refused.body["errors"]] == ["/limit"]

    scenario.put_limit("db-main", (201,), slots=1)
    for name in ("nightly", "monthly"):
        assert scenario.put(name, limit="db-main", payload="x" * 5000).body["limit"] == "db-main"
    in_use = delete(scenario, "db-main")
    assert (in_use.status, "the limit of monthly, nightly." in in_use.body["detail"]) == (409, True)

    scenario.put("monthly")
    assert "limit" not in scenario.job("monthly")
    scenario.delete("nightly")
    assert delete(scenario, "db-main").status == 204


def test_a_job_that_terraform_puts_names_a_limit_that_exists(scenario: Scenario) -> None:
    change = {
        "action": "put",
        "service_name": scenario.service_name,
        "job_name": "nightly",
        "job": {"schedule": scenario.schedule, "invocation_type": "sns", "limit": "db-main"},
        "updated_by": "terraform",
        "managed_by": "Terraform, tests",
    }

    def manage(**changed: str) -> Json:
        answer = scenario.aws.client("lambda").invoke(
            FunctionName=scenario.outputs["function_names"]["manage_job"],
            Payload=json.dumps({**change, **changed}),
        )
        result: Json = json.load(answer["Payload"])
        return result

    assert [error["pointer"] for error in manage()["problem"]["errors"]] == ["/limit"]
    scenario.put_limit("db-main", (201,), slots=1)
    assert manage() == {"created": True, "warnings": []}
    assert manage(action="delete") == {}
    assert delete(scenario, "db-main").status == 204


def test_a_limit_shows_who_holds_it_who_waits_and_when_the_next_starts(scenario: Scenario) -> None:
    scenario.put_limit("db-main", (201,), slots=2, per_second=1)
    ids = [scenario.execution_id("nightly", scenario.tick_time() + 1000 * number) for number in (1, 0)]
    later_ms = (time.time_ns() // 1_000_000_000 + 600) * 1000
    write(
        scenario,
        "db-main",
        "SET holders = :ids, waiting_count = :count, next_start_ms = :at",
        ids={"SS": ids},
        count={"N": "3"},
        at={"N": str(later_ms)},
    )
    scenario.put_limit("db-main", (200,), slots=1, per_second=1)

    view = scenario.limit("db-main")
    assert (view["held"], view["holders"], view["waiting"]) == (2, sorted(ids), 3)
    assert view["next_start_at"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(later_ms / 1000))
    write(scenario, "db-main", "SET waiting_count = :count", count={"N": "0"})
    assert delete(scenario, "db-main").status == 204


def test_those_that_wait_are_started_if_their_limit_is_deleted(scenario: Scenario) -> None:
    scenario.put_limit("db-main", (201,), slots=1)
    with scenario.service(over_sns=True, work=is_silent) as service:
        scenario.put("nightly", limit="db-main")
        started = [scenario.api.request("POST", scenario.job_path("nightly", "executions")) for _ in range(3)]
        assert [each.body["status"] for each in started] == ["running", "waiting", "waiting"]
        scenario.put("nightly")
        assert scenario.limit("db-main")["waiting"] == 2

        assert delete(scenario, "db-main").status == 204
        service.wait_for(lambda s: len(s.received) == 3, 60, "all notifications")
        scenario.put_limit("db-main", (201,), slots=1)
        assert [scenario.limit("db-main")[name] for name in ("held", "waiting")] == [0, 0]
        for received in service.received:
            scenario.callback(received.notification["callback_url"], {"status": "success"})
    assert delete(scenario, "db-main").status == 204
