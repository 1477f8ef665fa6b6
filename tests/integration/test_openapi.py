"""Whatever comes in, no 5xx goes out, and no answer of which the OpenAPI document does not tell.

schemathesis makes the requests out of the document: some that fit it and some that do not, always the same.
"""

import json
from collections.abc import Iterator
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
from tests.integration.contract import Contract
from tests.integration.scenario import Scenario
from tests.unit.terraform.blocks import ROOT

WRITTEN = json.loads((ROOT / "functions" / "get_openapi" / "openapi.json").read_text())
OPERATIONS = [operation["operationId"] for item in WRITTEN["paths"].values() for operation in item.values()]

# Of schemathesis' checks those for answers. That what is not signed is refused, test_api.py shows; that what
# is refused changes nothing, and what a repeated request does, scenarios of their own.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
EXAMPLES = 20


class SigV4(AuthBase):
    """Signs what requests sends."""

    def __init__(self, credentials: Credentials, region: str) -> None:
        self._signer = SigV4Auth(credentials, "execute-api", region)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # The signature is of a query in which all but the unreserved characters are escaped, as on the wire.
        url = urlsplit(str(request.url))
        query = urlencode(parse_qsl(url.query, keep_blank_values=True), quote_via=quote, safe="")
        request.url = url._replace(query=query).geturl()
        signed = AWSRequest(method=request.method, url=request.url, data=request.body)
        self._signer.add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        return request


@pytest.fixture(scope="module", autouse=True)
def no_traces(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hypothesis keeps what it has found out in a directory."""
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


@pytest.fixture
def known(scenario: Scenario) -> Iterator[dict[str, str]]:
    """The parameters of a path to what exists: a job that does not fire, an execution, its callback."""
    with scenario.service(over_sns=True, work=lambda notification, callbacks, pause: None) as service:
        scenario.put("known", enabled=False, exclusive=True, ttl_seconds=10)
        started = scenario.api.request("POST", scenario.job_path("known", "executions"))
        assert started.status == 201
        service.wait_for(lambda s: len(s.received) == 1, 30, "the notification")
        yield {
            "service_name": scenario.service_name,
            "job_name": "known",
            "execution_id": started.body["execution_id"],
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
    secrets = path_of("services", scenario.service_name, "webhook-secrets")
    for secret in scenario.api.request("GET", secrets).body["results"]:
        assert scenario.api.request("DELETE", f"{secrets}/{secret['secret_id']}?force=true").status == 204


def harmless(case: Case[Any], scenario: Scenario, known: dict[str, str], is_of_known: bool) -> None:
    """What a request saves is of this test's own service, does not fire, calls nobody, and is deleted."""
    if is_of_known:
        case.path_parameters = {name: known[name] for name in case.path_parameters}
    operation_id = case.operation.definition.raw["operationId"]
    if operation_id not in ("put_job", "create_webhook_secret"):
        return
    if is_name(str(case.path_parameters.get("service_name"))):
        case.path_parameters["service_name"] = scenario.service_name
    if operation_id == "put_job" and isinstance(case.body, dict):
        quiet = {"enabled": False, "test_invocation": False}
        case.body = case.body | {name: no for name, no in quiet.items() if case.body.get(name, True) is True}
        if is_of_known and isinstance(case.body.get("schedule"), str):
            case.body |= {"schedule": scenario.schedule}
            case.body.pop("invocation_target", None)
            if case.body.get("invocation_type") == "http":
                case.body |= {"invocation_target": "http://127.0.0.1:9/jobs"}


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_any_request_has_an_answer_of_which_the_document_tells(
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

    def send(case: Case[Any], is_of_known: bool) -> None:
        harmless(case, scenario, known, is_of_known)
        answer = case.call_and_validate(base_url=scenario.outputs["api_url"], auth=auth, checks=CHECKS)
        seen.add(answer.status_code)

    # Without parameters or a body, there is nothing that could be wrong.
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
        run(given(case=strategy, is_of_known=st.booleans())(send))()
    # What is not let in would try nothing.
    assert auth is None or 403 not in seen
