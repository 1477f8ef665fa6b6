"""Sending a message: the secrets come from SSM, and nothing that is secret gets out."""

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from jobmanager.alerts import destination
from jobmanager.alerts.destination import AlertUndelivered, send
from jobmanager.aws import clients
from jobmanager.runtime.tracing import web_request
from jobmanager.targets import webhook
from tests.unit.functions.jobmanager.alerts.published import failure
from tests.unit.functions.jobmanager.alerts.test_messages import ONE, opened
from tests.unit.functions.target import Target

KEY = b"0123456789abcdef0123456789abcdef"
KINDS = ("slack", "teams", "pagerduty", "webhook")


@pytest.fixture
def parameters(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {
        "ALERT_SOURCE": "sjm-test",
        "PAGERDUTY_SEVERITY": "error",
        "PARAMETER_NAME": "/alerts/on-call",
        "SIGNING_PARAMETER_NAME": "/alerts/secret",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(destination, "_parameters", destination._Parameters())
    with mock_aws():
        clients._client.cache_clear()
        ssm = boto3.client("ssm")
        secret = f"whsec_{base64.b64encode(KEY).decode()}\n"
        ssm.put_parameter(Name="/alerts/secret", Value=secret, Type="SecureString")
        yield ssm
    clients._client.cache_clear()


@pytest.fixture
def sends(parameters: Any, target: Target, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the kind of the destination, and where it is."""

    def use(kind: str, value: str | None = None) -> None:
        monkeypatch.setenv("ALERT_KIND", kind)
        monkeypatch.setenv("PAGERDUTY_URL", target.url)
        value = value or ("r" * 32 if kind == "pagerduty" else f"{target.url}?key=secret")
        parameters.put_parameter(Name="/alerts/on-call", Value=value, Type="SecureString", Overwrite=True)

    return use


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_gets_json(sends: Any, target: Target, kind: str) -> None:
    sends(kind)
    send(ONE)

    ((headers, content),) = target.requests
    assert headers["content-type"] == "application/json"
    marks = {"slack": "blocks", "teams": "attachments", "pagerduty": "dedup_key", "webhook": "data"}
    assert marks[kind] in json.loads(content)
    assert ("webhook-signature" in headers) == (kind == "webhook")


def test_pagerduty_gets_the_routing_key_in_the_body(sends: Any, target: Target) -> None:
    sends("pagerduty")
    send(ONE)
    assert target.bodies[0]["routing_key"] == "r" * 32


def test_a_webhook_is_signed_as_it_is_sent(sends: Any, target: Target) -> None:
    sends("webhook")
    send(opened(failure(summary="ü 𝄞")))

    ((headers, content),) = target.requests
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
    expected = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


@pytest.mark.parametrize("status", [302, 400, 403, 404, 429, 500, 503])
def test_any_answer_but_a_2xx_is_undelivered(sends: Any, target: Target, status: int) -> None:
    sends("slack")
    target.script.append(status)
    with pytest.raises(AlertUndelivered, match=f"answered {status}"):
        send(ONE)


def test_a_secret_is_read_once_and_again_after_a_refusal(
    sends: Any, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    sends("slack")
    read: list[str] = []
    get = clients.ssm().get_parameter

    class Counted:
        def get_parameter(self, **request: Any) -> Any:
            read.append(request["Name"])
            return get(**request)

    monkeypatch.setattr(destination, "ssm", Counted)
    send(ONE)
    send(ONE)
    assert read == ["/alerts/on-call"]

    target.script.append(404)
    with pytest.raises(AlertUndelivered):
        send(ONE)
    sends("slack", f"{target.url}/new")
    send(ONE)
    assert len(read) == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data?key=secret",
        "https://10.1.2.3/hook?key=secret",
        "hooks.slack.example/secret",
        "ftp://hooks.example/secret",
        "https://user:secret@hooks.example/",
        "https://hooks.example:99999/secret",
        "secret",
    ],
)
def test_a_destination_that_must_not_be_called_is_undelivered_and_not_named(sends: Any, url: str) -> None:
    sends("slack", url)
    with pytest.raises(AlertUndelivered) as raised:
        send(ONE)
    assert "secret" not in str(raised.value)


def test_http_is_refused_on_aws(sends: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOW_HTTP_TARGETS", "false")
    sends("slack")
    with pytest.raises(AlertUndelivered, match="only https"):
        send(ONE)


def test_a_signing_secret_that_is_none_is_undelivered_and_not_named(sends: Any, parameters: Any) -> None:
    sends("webhook")
    parameters.put_parameter(
        Name="/alerts/secret", Value="whsec_no base64", Type="SecureString", Overwrite=True
    )
    with pytest.raises(AlertUndelivered, match="signing secret") as raised:
        send(ONE)
    assert "no base64" not in str(raised.value).replace("whsec_ and base64", "")


@pytest.mark.parametrize("kind", KINDS)
def test_neither_path_nor_key_is_logged_or_traced(
    sends: Any, target: Target, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    traced: list[str] = []

    def trace(method: str, url: str) -> Any:
        traced.append(url)
        return web_request(method, url)

    monkeypatch.setattr(webhook, "web_request", trace)
    sends(kind)
    target.script.append(500)
    with caplog.at_level(logging.DEBUG, logger="jobmanager"), pytest.raises(AlertUndelivered) as raised:
        send(ONE)

    assert traced == [target.url.removesuffix("jobs")]
    for text in (caplog.text, str(raised.value)):
        assert "secret" not in text
        assert "r" * 32 not in text
