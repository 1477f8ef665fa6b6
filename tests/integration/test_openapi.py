"""No request gets a 5xx, or an answer that the OpenAPI document does not describe.

Schemathesis generates valid and invalid requests from the document. Every run sends the same ones, and
`make exhaustive` sends more.
"""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
import requests
import schemathesis
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from requests.auth import AuthBase
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from jobmanager.core.names import is_name
from local.api_client import path_of
from tests.exhaustive import cases
from tests.integration.contract import Contract
from tests.integration.polling import patient
from tests.integration.scenario import Scenario
from tests.integration.upkeep import only_one
from tests.unit.terraform.blocks import ROOT

DOCUMENT = json.loads((ROOT / "functions" / "get_openapi" / "openapi.json").read_text())
OPERATIONS = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]

# Schemathesis' checks of answers. test_api.py tests that unsigned requests are refused. Other scenarios test
# that refused requests change nothing, and what repeated requests do.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
EXAMPLES = cases(2, 40)

# Schemathesis needs two seconds of CPU time for the first request of a process, and little for the others.
pytestmark = [pytest.mark.xdist_group("openapi"), pytest.mark.slow(2)]


class SigV4(AuthBase):
    """Signs the requests that the library requests sends."""

    def __init__(self, credentials: Credentials, region: str) -> None:
        self._signer = SigV4Auth(credentials, "execute-api", region)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # SigV4 signs a query with all reserved characters escaped, so it must be sent like that.
        url = urlsplit(str(request.url))
        query = urlencode(parse_qsl(url.query, keep_blank_values=True), quote_via=quote, safe="")
        request.url = url._replace(query=query).geturl()
        signed = AWSRequest(method=request.method, url=request.url, data=request.body)
        self._signer.add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        return request


@pytest.fixture(scope="module", autouse=True)
def no_traces(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Lets Hypothesis keep its database in a temporary directory."""
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


@pytest.fixture
def known(scenario: Scenario) -> Iterator[dict[str, str]]:
    """Path parameters of what exists: a job that does not fire, an execution, its callback, a limit."""
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as service:
        scenario.put("known", enabled=False, exclusive=True)
        limits = path_of("services", scenario.service_name, "limits")
        assert scenario.api.request("PUT", f"{limits}/known", {"slots": 1}).status == 201
        started = scenario.api.request("POST", scenario.job_path("known", "executions"))
        assert started.status == 201
        service.wait_for(lambda s: len(s.received) == 1, 60, "the notification")
        yield {
            "service_name": scenario.service_name,
            "job_name": "known",
            "execution_id": started.body["execution_id"],
            "limit_name": "known",
            "secret_id": "0123456789abcdef",
            "callback_token": service.received[0].notification["callback_url"].rpartition("/")[2],
        }
        query = {"limit": 100, "status": "running"}
        running = scenario.api.request("GET", f"/services/{scenario.service_name}/executions", query=query)
        for execution in running.body["results"]:
            path = scenario.job_path(execution["job_name"], "executions", execution["execution_id"], "cancel")
            assert scenario.api.request("POST", path).status in (200, 409)
    jobs = scenario.api.request("GET", f"/services/{scenario.service_name}/jobs", query={"limit": 100})
    for job in jobs.body["results"]:
        scenario.delete(job["job_name"])
    for limit in scenario.api.request("GET", limits, query={"limit": 100}).body["results"]:
        assert scenario.api.request("DELETE", f"{limits}/{limit['limit_name']}").status == 204
    secrets = path_of("services", scenario.service_name, "webhook-secrets")
    for secret in scenario.api.request("GET", secrets).body["results"]:
        assert scenario.api.request("DELETE", f"{secrets}/{secret['secret_id']}?force=true").status == 204


OF_ALL_SERVICES = ("cancel_executions", "rerun_executions")


def make_harmless(case: Case[Any], scenario: Scenario, known: dict[str, str], uses_known: bool) -> None:
    """Changes a request so that it saves only under this test's service, and its job does not fire."""
    if uses_known:
        case.path_parameters = {name: known[name] for name in case.path_parameters}
    operation_id = case.operation.definition.raw["operationId"]
    if operation_id in OF_ALL_SERVICES and isinstance(case.body, dict):
        # Executions of other tests run on this stage. A value that is no boolean is refused.
        asked = case.body.get("dry_run", False)
        case.body = case.body | {"dry_run": True if isinstance(asked, bool) else asked}
    if operation_id not in ("put_job", "put_limit", "create_webhook_secret"):
        return
    if is_name(str(case.path_parameters.get("service_name"))):
        case.path_parameters["service_name"] = scenario.service_name
    if operation_id == "put_job":
        # A job that a place in a repository owns could not be deleted here.
        case.query.pop("managed_by", None)
    if operation_id == "put_job" and isinstance(case.body, dict):
        quiet = {"enabled": False, "test_invocation": False}
        case.body = case.body | {name: no for name, no in quiet.items() if case.body.get(name, True) is True}
        if uses_known and isinstance(case.body.get("schedule"), str):
            case.body |= {"schedule": scenario.schedule}
            case.body.pop("invocation_target", None)
            if case.body.get("invocation_type") == "http":
                case.body |= {"invocation_target": "http://127.0.0.1:9/jobs"}


@pytest.mark.samples
@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_every_answer_is_described_in_the_document(
    scenario: Scenario,
    contract: Contract,
    credentials: Credentials,
    known: dict[str, str],
    operation_id: str,
) -> None:
    schema = schemathesis.openapi.from_dict(contract.document.content, config=SchemathesisConfig())
    operation = schema.find_operation_by_id(operation_id)
    auth = SigV4(credentials, "us-east-1") if operation.definition.raw["security"] else None
    seen: set[int] = set()

    def send(case: Case[Any], uses_known: bool) -> None:
        make_harmless(case, scenario, known, uses_known)
        answer = case.call_and_validate(
            base_url=scenario.outputs["api_url"], auth=auth, checks=CHECKS, timeout=patient(30)
        )
        seen.add(answer.status_code)

    # A request without parameters and body cannot be invalid.
    takes_something = operation.definition.raw.keys() & {"parameters", "requestBody"}
    for mode in MODES if takes_something else MODES[:1]:
        strategy = operation.as_strategy(generation_mode=mode)
        run = settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        with only_one("reconciler") if operation_id == "reconcile_schedules" else nullcontext():
            run(given(case=strategy, uses_known=st.booleans())(send))()
    # A request that is refused for its signature tests nothing.
    assert auth is None or 403 not in seen
