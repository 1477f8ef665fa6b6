"""The local stage checks signatures as AWS does: a request that it accepts is signed correctly for AWS."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.integration.conftest import required

INTEGRATE = Path(__file__).resolve().parents[2] / "docs" / "integrate.md"
PREVIEW = "/schedules/preview?count=2&schedule=rate%281%20hour%29"
NO_MATCH = "The request signature we calculated does not match the signature you provided."
NO_TOKEN = "The security token included in the request is invalid."


class LikeOldCurl(SigV4Auth):
    """Signs the query as it is written, without sorting or encoding it, like old versions of curl."""

    def canonical_query_string(self, request: Any) -> str:
        return str(urlsplit(request.url).query)


class WithoutTheHost(SigV4Auth):
    """Does not sign the host."""

    def headers_to_sign(self, request: Any) -> Any:
        headers = super().headers_to_sign(request)
        del headers["host"]
        return headers


class WithWrongTerminator(SigV4Auth):
    """Ends the scope with an unknown terminator."""

    def credential_scope(self, request: Any) -> str:
        return super().credential_scope(request).replace("aws4_request", "aws5_request")

    def scope(self, request: Any) -> str:
        return super().scope(request).replace("aws4_request", "aws5_request")


@dataclass(frozen=True)
class Call:
    """A call of the API. `sends` may change the request after it was signed."""

    api_url: str
    credentials: Credentials
    path: str = PREVIEW
    method: str = "GET"
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    signer: type[SigV4Auth] = SigV4Auth
    service: str = "execute-api"
    region: str = "us-east-1"
    late: timedelta = timedelta()
    sends: Callable[[Request], None] = lambda request: None

    def answer(self) -> tuple[int, Any]:
        """The status and the body."""
        request = AWSRequest(self.method, self.api_url + self.path, dict(self.headers), self.body)
        at = datetime.now(UTC) - self.late
        with mock.patch.object(botocore.auth, "get_current_datetime", lambda: at):
            self.signer(self.credentials, self.service, self.region).add_auth(request)
        sent = Request(
            str(request.url), self.body, {k: str(v) for k, v in request.headers.items()}, method=self.method
        )
        self.sends(sent)
        try:
            with urlopen(sent, timeout=60) as taken:
                return taken.status, json.load(taken)
        except HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)


@pytest.fixture(params=["a user's keys", "the account's keys"])
def call(request: pytest.FixtureRequest, outputs: dict[str, Any], credentials: Credentials) -> Call:
    """A correctly signed call, with the keys of a user and with those that the local stage prints."""
    account = Credentials(required("AWS_ACCESS_KEY_ID"), required("AWS_SECRET_ACCESS_KEY"))
    by_user = request.param == "a user's keys"
    return Call(
        outputs["api_url"], credentials if by_user else account, region=required("AWS_DEFAULT_REGION")
    )


def another_path(request: Request) -> None:
    request.full_url = request.full_url.replace("/schedules/preview", "/schedules")


def another_query(request: Request) -> None:
    request.full_url = request.full_url.replace("count=2", "count=3")


def another_method(request: Request) -> None:
    request.method = "POST"


def another_body(request: Request) -> None:
    request.data = b'{"enabled": true }'


def test_correctly_signed_requests_are_accepted(call: Call) -> None:
    for good in (
        call,
        replace(call, signer=LikeOldCurl),
        replace(call, path="/schedules/preview?schedule=rate%281%20hour%29&count=2"),  # the signer sorts it
        replace(call, late=timedelta(minutes=4)),
        replace(call, late=timedelta(minutes=-4)),
        replace(call, path="/executions?reason=lock_held&status=fail%2Ctimeout", signer=LikeOldCurl),
        replace(call, path="/jobs?tags%5Bteam%5D=payments", signer=LikeOldCurl),
    ):
        status, body = good.answer()
        assert status == 200, (good, body)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/schedules/preview?schedule=rate%281%20hour%29&count=2", "not sorted"),
        ("/schedules/preview?count=2&schedule=rate(1%20hour)", "parentheses"),
        ("/executions?status=fail,timeout", "a comma"),
        ("/executions?status=fail%2ctimeout", "lower case"),
        ("/jobs?tags[team]=payments", "brackets"),
    ],
)
def test_queries_that_old_versions_of_curl_sign_as_written_are_refused(
    call: Call, path: str, why: str
) -> None:
    status, body = replace(call, path=path, signer=LikeOldCurl).answer()
    assert status == 403, why
    assert body["message"].startswith(NO_MATCH), why


def test_a_request_that_was_changed_after_signing_is_refused(call: Call, service_name: str) -> None:
    for changed in (
        replace(call, sends=another_path),
        replace(call, sends=another_query),
        replace(call, path="/jobs", sends=another_method),
    ):
        status, body = changed.answer()
        assert (status, body["message"][: len(NO_MATCH)]) == (403, NO_MATCH), changed

    put = replace(
        call,
        method="PUT",
        path=f"/services/{service_name}/jobs/a",
        body=b'{"enabled": false}',
        headers=(("Content-Type", "application/json"),),
    )
    assert put.answer()[0] == 400  # of the manager: there is no schedule
    claimed = (*put.headers, ("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD"))
    for other in (replace(put, sends=another_body), replace(put, headers=claimed)):
        status, body = other.answer()
        assert (status, body["message"][: len(NO_MATCH)]) == (403, NO_MATCH), other


def test_a_wrong_secret_key_or_session_token_is_refused(call: Call) -> None:
    key = call.credentials.access_key
    for credentials, message in (
        (Credentials(key, "a" * 40), NO_MATCH),
        (
            Credentials("AKIAUNKNOWN000000000", "a" * 40),
            NO_TOKEN,
        ),
        (
            Credentials(key, call.credentials.secret_key, "no-session"),
            NO_TOKEN,
        ),
    ):
        status, body = replace(call, credentials=credentials).answer()
        assert (status, body["message"][: len(message)]) == (403, message)


def test_a_signature_with_a_wrong_time_scope_or_form_is_refused(call: Call) -> None:
    for other, message in (
        (replace(call, late=timedelta(minutes=6)), "Signature expired: "),
        (replace(call, late=timedelta(minutes=-6)), "Signature not yet current: "),
        (replace(call, region="eu-west-3"), "Credential should be scoped to a valid region, not 'eu-west-3'"),
        (replace(call, service="sts"), "Credential should be scoped to correct service: 'execute-api'"),
        (replace(call, signer=WithWrongTerminator), "Credential should be scoped with a valid terminator"),
        (replace(call, signer=WithoutTheHost), "'Host' or ':authority' must be a 'SignedHeader'"),
        (replace(call, sends=lambda request: request.add_header("Authorization", "Bearer x")), "Forbidden"),
        (
            replace(call, sends=lambda request: request.add_header("Authorization", "AWS4-HMAC-SHA256 x=y")),
            "Authorization header requires 'Credential' parameter.",
        ),
    ):
        status, body = other.answer()
        assert (status, body["message"][: len(message)]) == (403, message)


def test_a_session_needs_its_token(aws: Any, outputs: dict[str, Any], credentials: Credentials) -> None:
    of_the_user = {
        "aws_access_key_id": credentials.access_key,
        "aws_secret_access_key": credentials.secret_key,
    }
    session = aws.client("sts", **of_the_user).get_session_token()["Credentials"]
    keys = (session["AccessKeyId"], session["SecretAccessKey"])
    call = Call(outputs["api_url"], credentials, region=required("AWS_DEFAULT_REGION"))

    assert replace(call, credentials=Credentials(*keys, session["SessionToken"])).answer()[0] == 200
    for token in (None, "another"):
        answer = replace(call, credentials=Credentials(*keys, token)).answer()
        assert answer == (403, {"message": NO_TOKEN})


def test_the_documented_shell_function_signs_with_a_session(
    aws: Any, outputs: dict[str, Any], credentials: Credentials
) -> None:
    of_the_user = {
        "aws_access_key_id": credentials.access_key,
        "aws_secret_access_key": credentials.secret_key,
    }
    session = aws.client("sts", **of_the_user).get_session_token()["Credentials"]
    (function,) = re.findall(r"^call\(\) \{\n.*?^\}\n", INTEGRATE.read_text(), re.MULTILINE | re.DOTALL)

    done = subprocess.run(
        ["bash", "-c", f'set -eu; {function}\ncall "$API_URL{PREVIEW}"'],
        env={
            "PATH": os.environ["PATH"],
            "API_URL": outputs["api_url"],
            "AWS_REGION": required("AWS_DEFAULT_REGION"),
            "AWS_ACCESS_KEY_ID": session["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
            "AWS_SESSION_TOKEN": session["SessionToken"],
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads(done.stdout)["fire_times"]) == 2


def test_open_routes_ignore_signatures(call: Call) -> None:
    assert replace(call, path="/openapi.json", service="sts").answer()[0] == 200
