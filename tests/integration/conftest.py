"""What integration tests share. They know of the stage only AWS_ENDPOINT_URL and Terraform's outputs."""

import json
import os
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from localstack_client.session import Session

HOW_TO = "integration tests need a stage: run them with `make test`, or after `make up` as README.md says"

INVOKE_THE_API = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"}],
}


@dataclass(frozen=True)
class ApiResponse:
    """An answer of the API."""

    status: int
    headers: Mapping[str, str]
    json: Any


type SignedRequest = Callable[..., ApiResponse]


def required(name: str) -> str:
    """An environment variable, without which there is no stage to test."""
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"{name} is not set; {HOW_TO}", pytrace=False)
    return value


@pytest.fixture(scope="session")
def outputs() -> dict[str, Any]:
    """Terraform's outputs of the stage, by name."""
    values: dict[str, Any] = json.loads(Path(required("STAGE_OUTPUTS")).read_text())
    return values


@pytest.fixture(scope="session")
def aws() -> Any:
    """A localstack-client session: `aws.client("sqs")` reaches the stage."""
    required("AWS_ENDPOINT_URL")  # localstack-client reads it
    return Session(
        aws_access_key_id=required("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=required("AWS_SECRET_ACCESS_KEY"),
        region_name=required("AWS_DEFAULT_REGION"),
    )


@pytest.fixture(scope="session")
def credentials(aws: Any) -> Iterator[Credentials]:
    """Keys of a user of this test run's own, who may call the API and do nothing else."""
    iam = aws.client("iam")
    user = f"sjm-test-{uuid.uuid4().hex[:12]}"
    iam.create_user(UserName=user)
    iam.put_user_policy(UserName=user, PolicyName="CallTheApi", PolicyDocument=json.dumps(INVOKE_THE_API))
    key = iam.create_access_key(UserName=user)["AccessKey"]
    yield Credentials(key["AccessKeyId"], key["SecretAccessKey"])
    iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
    iam.delete_user_policy(UserName=user, PolicyName="CallTheApi")
    iam.delete_user(UserName=user)


@pytest.fixture(scope="session")
def signed_request(outputs: dict[str, Any], credentials: Credentials) -> SignedRequest:
    """Calls the API: `signed_request("PUT", "/services/x/jobs/y", body, headers)`; the body goes as JSON."""

    def request(
        method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> ApiResponse:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if body is not None else {}
        url = outputs["api_url"] + path
        signed = AWSRequest(method, url, headers=sent | dict(headers or {}), data=data)
        SigV4Auth(credentials, "execute-api", required("AWS_DEFAULT_REGION")).add_auth(signed)
        return send(method, url, data, dict(signed.headers.items()))

    return request


def send(method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> ApiResponse:
    """Sends a request as it is, and reads the answer whatever its status."""
    request = urllib.request.Request(url, data=body, headers=dict(headers), method=method)
    try:
        answer = urllib.request.urlopen(request, timeout=35)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        content = answer.read()
        try:
            parsed = json.loads(content) if content else None
        except ValueError:
            parsed = content.decode(errors="replace")
        named = {name.lower(): value for name, value in answer.headers.items()}
        return ApiResponse(answer.status or 0, named, parsed)


@pytest.fixture
def service_name() -> str:
    """A service of this test's own, so that tests can run at the same time."""
    return f"test-{uuid.uuid4().hex[:12]}"
