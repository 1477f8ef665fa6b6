"""A caller with access to one service, as docs/threat-model.md gives it to a team, reaches no other one."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.api_client import ManagerApi
from tests.integration.conftest import INVOKE_THE_API, UserWith
from tests.integration.scenario import Scenario, own_schedule

# These answers are not checked against the OpenAPI document: the emulator's IAM has its own wording.
type Caller = Callable[..., ManagerApi]

INTEGRATE = Path(__file__).resolve().parents[2] / "docs" / "integrate.md"
OPEN_ROUTES = ("POST /callback/{callback_token}", "GET /openapi.json")
JOB = {"schedule": own_schedule(), "invocation_type": "sns"}


@pytest.fixture
def caller(aws: Any, outputs: dict[str, Any], user_with: UserWith) -> Caller:
    """Creates callers: users who may call only these methods and paths of the API."""
    account = aws.client("sts").get_caller_identity()["Account"]
    region = aws.client("lambda").meta.region_name
    (api_id,) = [
        found["ApiId"]
        for found in aws.client("apigatewayv2").get_apis()["Items"]
        if found["ApiId"] in outputs["api_url"]
    ]

    def create(*allowed: str) -> ManagerApi:
        here = f"arn:aws:execute-api:{region}:{account}:{api_id}/$default"
        resources = [f"{here}/{each}" for each in allowed]
        user = user_with(INVOKE_THE_API | {"Resource": resources})
        return ManagerApi(outputs["api_url"], user, region)

    return create


def test_a_caller_for_one_service_can_use_no_other_service(scenario: Scenario, caller: Caller) -> None:
    own, theirs = scenario.service_name, f"{scenario.service_name}-x"
    limited = caller(f"*/services/{own}/*")
    path = f"/services/{theirs}/jobs/a"
    assert scenario.api.request("PUT", path, JOB).status == 201
    try:
        assert limited.request("PUT", f"/services/{own}/jobs/a", JOB).status == 201
        assert limited.request("GET", f"/services/{own}/jobs").status == 200
        assert limited.request("GET", f"/services/{own}/executions").status == 200

        for operation in scenario.api.contract.document.operations:
            method, _, template = operation.route.partition(" ")
            if operation.route in OPEN_ROUTES:
                continue
            asked = template.replace("{service_name}", theirs).replace("{", "").replace("}", "")
            body: Any = {} if method in ("PUT", "POST") else None
            assert limited.request(method, asked, body).status == 403, operation.route

        assert scenario.api.request("GET", path).body["version"] == 1
    finally:
        assert scenario.api.request("DELETE", path).status == 204
        scenario.delete("a")


def test_the_documented_policy_of_a_service_lets_it_use_its_jobs_and_the_preview(
    scenario: Scenario, caller: Caller
) -> None:
    own = scenario.service_name
    (policy,) = re.findall(r"```json\n(.*?)```", INTEGRATE.read_text(), re.DOTALL)[:1]
    (statement,) = json.loads(policy)["Statement"]
    allowed = [resource.partition("/$default/")[2] for resource in statement["Resource"]]
    service = caller(*(each.replace("billing", own) for each in allowed))

    preview = service.request("GET", "/schedules/preview", query={"schedule": "rate(5 minutes)"})
    assert (preview.status, len(preview.body["fire_times"])) == (200, 10)
    assert service.request("PUT", f"/services/{own}/jobs/a", JOB).status == 201
    scenario.delete("a")
    for method, path in (("GET", "/schedules"), ("POST", "/schedules/reconcile"), ("GET", "/jobs")):
        assert service.request(method, path).status == 403, path
    assert service.request("GET", f"/services/{own}-x/jobs").status == 403


# Spellings of a path that IAM could read as the caller's own service, and a function as another service.
SPELLINGS = [
    "/services/{own}/../{theirs}/jobs/a",
    "/services/{own}/%2e%2e/{theirs}/jobs/a",
    "/services/{own}%2F..%2F{theirs}/jobs/a",
    "/services/{own}%252F..%252F{theirs}/jobs/a",
    "/services/{own}/jobs/..%2F..%2F{theirs}%2Fjobs%2Fa",
    "//services/{theirs}/jobs/a",
    "/services/{own}/jobs/a/../../../{theirs}/jobs/a",
    "/services/{theirs}/jobs/a?x=/services/{own}/",
]


def test_no_spelling_of_a_path_leads_from_one_service_to_another(scenario: Scenario, caller: Caller) -> None:
    own, theirs = scenario.service_name, f"{scenario.service_name}-x"
    limited = caller(f"*/services/{own}/*")
    assert scenario.api.request("PUT", f"/services/{theirs}/jobs/a", JOB).status == 201
    try:
        for spelling in SPELLINGS:
            asked = spelling.replace("{own}", own).replace("{theirs}", theirs)
            assert limited.request("DELETE", asked).status in (400, 403, 404), spelling
        assert scenario.api.request("GET", f"/services/{theirs}/jobs/a").body["version"] == 1
    finally:
        assert scenario.api.request("DELETE", f"/services/{theirs}/jobs/a").status == 204


def test_an_execution_is_found_only_under_its_own_job(scenario: Scenario, caller: Caller) -> None:
    """IAM decides by the path, so the execution in it must belong to the job in it."""
    own, theirs = scenario.service_name, f"{scenario.service_name}-x"
    limited = caller(f"*/services/{own}/*")
    path = f"/services/{theirs}/jobs/a"
    assert scenario.api.request("PUT", path, JOB).status == 201
    assert limited.request("PUT", f"/services/{own}/jobs/a", JOB).status == 201
    try:
        begun = scenario.api.request("POST", f"{path}/executions", {})
        assert begun.status in (200, 201, 202), begun
        execution = begun.body["execution_id"]
        for method, more in (("GET", ""), ("POST", "/cancel"), ("POST", "/rerun")):
            asked = f"/services/{own}/jobs/a/executions/{execution}{more}"
            assert limited.request(method, asked, {} if method == "POST" else None).status == 404, more
        assert scenario.api.request("POST", f"{path}/executions/{execution}/cancel", {}).status == 200
    finally:
        assert scenario.api.request("DELETE", path).status == 204
        scenario.delete("a")


def test_a_caller_that_may_only_read_changes_nothing(scenario: Scenario, caller: Caller) -> None:
    reader = caller("GET/*")
    scenario.put("a")
    try:
        assert reader.request("GET", scenario.job_path("a")).status == 200
        assert reader.request("GET", "/jobs").status == 200
        for method in ("PUT", "DELETE"):
            assert reader.request(method, scenario.job_path("a"), JOB).status == 403
        assert reader.request("POST", scenario.job_path("a", "executions"), {}).status == 403
    finally:
        scenario.delete("a")
