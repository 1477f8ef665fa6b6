"""Fixtures of the integration tests, which use only AWS_ENDPOINT_URL and Terraform's outputs of the stage."""

import json
import os
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials
from localstack_client.session import Session

from jobmanager.aws import clients
from tests.integration.contract import CheckedApi, Contract
from tests.integration.published_events import PublishedEvents
from tests.integration.scenario import Scenario, own_schedule
from tests.integration.upkeep import only_one
from tests.integration.workshop import Workshop

HOW_TO = "integration tests need a stage: run them with `make test`, or after `make up` as README.md says"

INVOKE_THE_API = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"}

type UserWith = Callable[..., Credentials]


def required(name: str) -> str:
    """The value of an environment variable. Fails the test if it is not set, because no stage is up then."""
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"{name} is not set; {HOW_TO}", pytrace=False)
    return value


@pytest.fixture(scope="session", autouse=True)
def stage_is_up() -> None:
    """Waits for the stage if it starts beside the tests. If that fails, local.stage ends the tests."""
    while os.environ.get("STAGE_STARTS") and not Path(required("STAGE_OUTPUTS")).is_file():
        time.sleep(0.2)


@pytest.fixture(scope="module", autouse=True)
def patient_clients() -> Iterator[None]:
    """Lets the manager's code in this process wait longer for the stage than for AWS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients._CONFIG, "read_timeout", 60)
        clients._client.cache_clear()
        yield
    clients._client.cache_clear()


@pytest.fixture(scope="session")
def outputs(stage_is_up: None) -> dict[str, Any]:
    """Terraform's outputs of the stage, by name."""
    values: dict[str, Any] = json.loads(Path(required("STAGE_OUTPUTS")).read_text())
    return values


@pytest.fixture(scope="session")
def aws(stage_is_up: None) -> Any:
    """A localstack-client session: `aws.client("sqs")` reaches the stage."""
    required("AWS_ENDPOINT_URL")  # localstack-client reads it
    return Session(
        aws_access_key_id=required("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=required("AWS_SECRET_ACCESS_KEY"),
        region_name=required("AWS_DEFAULT_REGION"),
    )


@pytest.fixture(scope="session")
def user_with(aws: Any) -> Iterator[UserWith]:
    """Creates users who may do what the given statements of IAM allow; returns their keys."""
    iam = aws.client("iam")
    with ExitStack() as afterwards:

        def create(*statements: dict[str, Any]) -> Credentials:
            user = f"sjm-test-{uuid.uuid4().hex[:12]}"
            policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
            iam.create_user(UserName=user)
            afterwards.callback(iam.delete_user, UserName=user)
            iam.put_user_policy(UserName=user, PolicyName="Own", PolicyDocument=policy)
            afterwards.callback(iam.delete_user_policy, UserName=user, PolicyName="Own")
            key = iam.create_access_key(UserName=user)["AccessKey"]
            afterwards.callback(iam.delete_access_key, UserName=user, AccessKeyId=key["AccessKeyId"])
            return Credentials(key["AccessKeyId"], key["SecretAccessKey"])

        yield create


@pytest.fixture(scope="session")
def credentials(user_with: UserWith) -> Credentials:
    """Keys of a user of this test run, who may only call the API."""
    return user_with(INVOKE_THE_API)


@pytest.fixture(scope="session")
def contract(outputs: dict[str, Any]) -> Contract:
    """The OpenAPI document that the stage serves."""
    return Contract.of_the_stage(outputs["api_url"])


@pytest.fixture(scope="session")
def api(outputs: dict[str, Any], credentials: Credentials, contract: Contract) -> CheckedApi:
    """The stage's HTTP API, called as that user. Each answer is checked against the OpenAPI document."""
    return CheckedApi(outputs["api_url"], credentials, required("AWS_DEFAULT_REGION"), contract)


@pytest.fixture
def service_name() -> str:
    """The name of a service that only this test uses, so that tests can run in parallel."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def scenario(aws: Any, outputs: dict[str, Any], api: CheckedApi, service_name: str) -> Iterator[Scenario]:
    """A service and a schedule of this test's own.

    Each event and notification that the test received must be one that the document has.
    """
    scenario = Scenario(aws, outputs, api, service_name, own_schedule())
    yield scenario
    scenario.check_messages()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the history of a failed scenario to its report, because the history ends with the stage."""
    report = yield
    scenario = getattr(item, "funcargs", {}).get("scenario")
    if report.failed and isinstance(scenario, Scenario):
        try:
            told = "\n".join(json.dumps(execution) for execution in scenario.newest_executions())
        except Exception as error:  # whatever it is, it must not hide why the test failed
            told = f"not known: {error!r}"
        report.sections.append(("the service's executions", told or "none"))
    return report


@pytest.fixture
def published(scenario: Scenario) -> Iterator[PublishedEvents]:
    """The events about the scenario's service, from now on."""
    events = PublishedEvents(scenario)
    yield events
    events.end()


@pytest.fixture
def only_reconciler() -> Iterator[None]:
    """Holds off the reconciler of other tests, which would do this test's work first."""
    with only_one("reconciler"):
        yield


@pytest.fixture
def workshop(aws: Any) -> Iterator[Workshop]:
    """Creates functions, state machines and more that only this test uses."""
    workshop = Workshop(aws)
    yield workshop
    for undo in workshop.undo:
        undo()
