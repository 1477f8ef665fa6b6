"""A service defines its jobs in its own Terraform, with the credentials that the module's page asks for."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import UserWith, required
from tests.integration.scenario import Json, Scenario
from tests.integration.test_rules import as_code
from tests.service_terraform import MODULE, ServiceTerraform


def documented_statements(scenario: Scenario) -> list[Json]:
    """The statements of the module's page, for this service on the running stage."""
    (policy,) = re.findall(r"```json\n(.*?)```", (MODULE / "README.md").read_text(), re.DOTALL)
    name, _, stage = scenario.outputs["prefix"].partition("-")
    account = scenario.aws.client("sts").get_caller_identity()["Account"]
    (api_id,) = [
        found["ApiId"]
        for found in scenario.aws.client("apigatewayv2").get_apis()["Items"]
        if found["ApiId"] in scenario.outputs["api_url"]
    ]
    here = {
        "eu-central-1:123456789012": f"{required('AWS_DEFAULT_REGION')}:{account}",
        "parameter/sjm/prod/": f"parameter/{name}/{stage}/",
        "API_ID": api_id,
        "/services/billing/": f"/services/{scenario.service_name}/",
    }
    for example, real in here.items():
        assert example in policy
        policy = policy.replace(example, real)
    statements: list[Json] = json.loads(policy)["Statement"]
    return statements


@pytest.fixture
def service(scenario: Scenario, user_with: UserWith, tmp_path: Path) -> ServiceTerraform:
    """The service's Terraform, run by a user who has no other permissions than those of the module's page."""
    user = user_with(*documented_statements(scenario))
    environment = {name: value for name, value in os.environ.items() if name != "TF_DATA_DIR"}
    credentials = {"AWS_ACCESS_KEY_ID": user.access_key, "AWS_SECRET_ACCESS_KEY": user.secret_key}
    stage = scenario.outputs["prefix"].partition("-")[2]
    service = ServiceTerraform(tmp_path, stage, scenario.service_name, environment | credentials)
    service.write({})
    service.run("init")
    return service


def apply(service: ServiceTerraform, jobs: dict[str, Any], /, *, succeeds: bool = True, **more: str) -> str:
    service.write(jobs, **more)
    return service.run("apply", "-auto-approve", succeeds=succeeds)


def test_a_services_own_terraform_puts_changes_and_deletes_its_jobs(
    scenario: Scenario, service: ServiceTerraform
) -> None:
    nightly = {"schedule": scenario.schedule, "invocation_type": "sns"}
    apply(service, {"a": nightly | {"payload": "é${1}"}, "b": nightly}, managed_in='"git.example/own"')
    job = scenario.job("a")
    place = f"service {scenario.service_name}, git.example/own"
    assert (job["managed_by"], job["payload"], job["version"]) == (place, "é${1}", 1)
    for method, body in (("PUT", nightly), ("DELETE", None)):
        refused = scenario.api.request(method, scenario.job_path("a"), body)
        assert (refused.status, refused.body["managed_by"]) == (409, place)

    scenario.set_back("a")
    with scenario.service(over_sns=True):
        scenario.wait_until("a", scenario.tick(), "success")

    refused_plan = {"a": nightly | {"excluisve": True}}
    service.write(refused_plan)
    assert f"{scenario.service_name}/a: /excluisve: unknown field" in service.run("plan", succeeds=False)
    printed = apply(service, {"a": nightly | {"heartbeat_interval_seconds": 301}}, succeeds=False)
    assert f"{scenario.service_name}/a: 400" in printed
    assert "/heartbeat_interval_seconds: " in printed

    apply(service, {"a": nightly | {"payload": "new"}}, managed_in='"git.example/own"')
    assert scenario.job("a")["payload"] == "new"
    assert scenario.api.request("GET", scenario.job_path("b")).status == 404
    service.run("destroy", "-auto-approve")
    assert scenario.api.request("GET", scenario.job_path("a")).status == 404
    assert scenario.history("a")[0]["status"] == "success"
    assert scenario.rules() == []


def test_a_services_terraform_reaches_no_other_service(scenario: Scenario, service: ServiceTerraform) -> None:
    other = f"{scenario.service_name}-x"
    job = {"schedule": scenario.schedule, "invocation_type": "sns"}
    printed = apply(service, {"a": job}, succeeds=False, service=json.dumps(other))
    assert f"{other}/a: 403" in printed
    assert scenario.api.request("GET", f"/services/{other}/jobs/a").status == 404


def test_the_stages_terraform_and_a_services_refuse_each_others_jobs(
    scenario: Scenario, service: ServiceTerraform
) -> None:
    job = {"schedule": scenario.schedule, "invocation_type": "sns"}
    of_stage = "terraform/environments/local/jobs.tf"
    as_code(scenario, "put", "a")
    printed = apply(service, {"a": job}, succeeds=False)
    assert f"409 {scenario.service_name}/a is managed by {of_stage}: change it there" in printed
    assert "not deleted: " in apply(service, {})
    assert scenario.job("a")["managed_by"] == of_stage

    as_code(scenario, "delete", "a")
    apply(service, {"a": job})
    place = f"service {scenario.service_name}, Terraform"
    assert f"409 {scenario.service_name}/a is managed by {place}" in as_code(scenario, "put", "a", fails=True)
    as_code(scenario, "delete", "a")
    assert scenario.job("a")["managed_by"] == place
    service.run("destroy", "-auto-approve")
