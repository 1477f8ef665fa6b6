"""create_webhook_secret, list_webhook_secrets, delete_webhook_secret, and signatures with the secrets."""

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import botocore.client
import pytest
from aws_xray_sdk import global_sdk_config
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.ext.botocore import patch as trace_botocore
from botocore.client import BaseClient
from botocore.endpoint import Endpoint
from botocore.exceptions import ClientError
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from functions.create_webhook_secret.handler import handler as create_handler
from functions.delete_webhook_secret.handler import handler as delete_handler
from functions.list_webhook_secrets.handler import handler as list_handler
from jobmanager.aws import clients as aws
from jobmanager.aws import tables
from jobmanager.aws.items import to_item
from jobmanager.core.clock import iso, now_ms
from jobmanager.core.errors import Conflict, Contended, TargetTestFailed
from jobmanager.delivery import notification
from jobmanager.delivery import secrets as webhook_secrets
from jobmanager.delivery.signature import webhook_headers
from jobmanager.delivery.trial import check_target
from jobmanager.jobs.validation import definition
from jobmanager.runtime.logs import logger
from tests.unit.functions.examples import ACCOUNT, NOON_MS, api_event, lambda_context
from tests.unit.functions.target import Target

pytestmark = pytest.mark.usefixtures("cloud")
DAY = 86_400
BODY = '{"execution_id": "97cc-1", "payload": "ü"}'.encode()


@pytest.fixture(autouse=True)
def cold(cloud: object) -> None:
    webhook_secrets._decrypted.cache_clear()


def create(at_ms: int = NOON_MS, overlap_seconds: int = DAY, service_name: str = "billing") -> str:
    return webhook_secrets.create(service_name, overlap_seconds, "ann", at_ms)[0]


def key_of(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_"))


def signed_with(at_ms: int, service_name: str = "billing") -> list[bytes]:
    return webhook_secrets.valid_secrets(service_name, at_ms)


def secret_ids(at_ms: int = NOON_MS) -> list[str]:
    return [each["secret_id"] for each in webhook_secrets.valid("billing", at_ms)]


def stored(service_name: str = "billing") -> dict[str, Any]:
    item = tables.get("services", {"service_name": service_name})
    assert item
    return item


def call(
    handler: Any,
    method: str,
    status: int,
    body: str | None = None,
    query: dict[str, str] | None = None,
    **path: str,
) -> tuple[dict[str, Any], dict[str, str]]:
    event = api_event(method, body, "application/json", query, **({"service_name": "billing"} | path))
    answer = handler(event, lambda_context())
    assert answer["statusCode"] == status, answer
    return json.loads(answer.get("body", "{}")), answer.get("headers", {})


# The API


def test_a_secret_is_shown_once_and_left_out_of_the_list() -> None:
    made, headers = call(create_handler, "POST", 201)
    assert headers["cache-control"] == "no-store"
    assert set(made) == {"service_name", "secret_id", "secret", "created_at", "created_by", "others"}
    assert (made["service_name"], made["others"]) == ("billing", [])
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", made["secret"])
    listed, _ = call(list_handler, "GET", 200)
    user = f"arn:aws:iam::{ACCOUNT}:user/ann"
    shown = {"secret_id": made["secret_id"], "created_at": made["created_at"], "created_by": user}
    assert listed == {"results": [shown], "paging": {}}


def test_a_second_secret_makes_the_first_expire() -> None:
    first, _ = call(create_handler, "POST", 201)
    before = now_ms() // 1000
    second, _ = call(create_handler, "POST", 201, '{"overlap_seconds": 3600}')
    (other,) = second["others"]
    assert other["secret_id"] == first["secret_id"]
    assert iso((before + 3600) * 1000) <= other["expires_at"] <= iso((before + 3660) * 1000)
    listed, _ = call(list_handler, "GET", 200)
    assert [each["secret_id"] for each in listed["results"]] == [second["secret_id"], first["secret_id"]]
    assert ["expires_at" in each for each in listed["results"]] == [False, True]


def test_a_deleted_secret_is_gone_immediately() -> None:
    made, _ = call(create_handler, "POST", 201)
    call(create_handler, "POST", 201)
    assert call(delete_handler, "DELETE", 204, secret_id=made["secret_id"]) == ({}, {})
    assert len(call(list_handler, "GET", 200)[0]["results"]) == 1
    refusal, _ = call(delete_handler, "DELETE", 404, secret_id=made["secret_id"])
    assert made["secret_id"] in refusal["detail"]


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("query", [None, {"force": "false"}])
def test_the_last_secret_that_stays_valid_is_deleted_only_by_force(
    others: int, query: dict[str, str] | None
) -> None:
    for _ in range(others):
        call(create_handler, "POST", 201)
    last = call(create_handler, "POST", 201)[0]["secret_id"]
    refusal, _ = call(delete_handler, "DELETE", 409, query=query, secret_id=last)
    assert "?force=true" in refusal["detail"]
    assert last in secret_ids(now_ms())
    call(delete_handler, "DELETE", 204, query={"force": "true"}, secret_id=last)
    assert len(secret_ids(now_ms())) == others
    for expiring in secret_ids(now_ms()):
        call(delete_handler, "DELETE", 409, secret_id=expiring)


@pytest.mark.parametrize("query", [{"force": "yes"}, {"force": ""}, {"forced": "true"}])
def test_what_a_deletion_does_not_take_is_named(query: dict[str, str]) -> None:
    made, _ = call(create_handler, "POST", 201)
    refusal, _ = call(delete_handler, "DELETE", 400, query=query, secret_id=made["secret_id"])
    assert [error["pointer"] for error in refusal["errors"]] == [f"/{name}" for name in query]
    assert len(secret_ids(now_ms())) == 1


def test_one_service_cannot_delete_the_secret_of_another() -> None:
    made, _ = call(create_handler, "POST", 201)
    call(delete_handler, "DELETE", 404, service_name="shipping", secret_id=made["secret_id"])
    assert call(list_handler, "GET", 200)[0]["results"] != []


@pytest.mark.parametrize("service_name", ["a%20b", "a--b", "a-", "x" * 65, "%2e%2e%2f"])
@pytest.mark.parametrize(
    ("handler", "method"), [(create_handler, "POST"), (list_handler, "GET"), (delete_handler, "DELETE")]
)
def test_an_invalid_service_name_is_refused(handler: Any, method: str, service_name: str) -> None:
    refusal, _ = call(handler, method, 400, service_name=service_name, secret_id="1")
    assert [error["pointer"] for error in refusal["errors"]] == ["/service_name"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"overlap_seconds": -1}', "/overlap_seconds"),
        ('{"overlap_seconds": 604801}', "/overlap_seconds"),
        ('{"overlap_seconds": 1.5}', "/overlap_seconds"),
        ('{"overlap_seconds": true}', "/overlap_seconds"),
        ('{"overlap_seconds": "60"}', "/overlap_seconds"),
        ('{"overlap_seconds": null}', "/overlap_seconds"),
        ('{"secret": "whsec_mine"}', "/secret"),
        ("[]", ""),
    ],
)
def test_an_invalid_creation_is_refused_with_a_pointer(body: str, pointer: str) -> None:
    refusal, _ = call(create_handler, "POST", 400, body)
    assert [error["pointer"] for error in refusal["errors"]] == [pointer]
    assert secret_ids() == []


@pytest.mark.parametrize("body", ['{"overlap_seconds": 0}', '{"overlap_seconds": 604800}', "{}", None])
def test_both_limits_of_overlap_seconds_are_accepted(body: str | None) -> None:
    call(create_handler, "POST", 201, body)


# Rotation over time


def test_both_secrets_are_valid_during_the_overlap_and_only_the_newer_one_afterwards() -> None:
    first, second = create(), create(NOON_MS + 1500, overlap_seconds=60)
    end_ms = NOON_MS + 61_000
    assert signed_with(NOON_MS + 1500) == signed_with(end_ms - 1) == [key_of(second), key_of(first)]
    assert signed_with(end_ms) == signed_with(end_ms + 365 * DAY * 1000) == [key_of(second)]
    assert len(secret_ids(end_ms - 1)) == 2
    assert len(secret_ids(end_ms)) == 1


def test_without_an_overlap_only_the_new_secret_is_valid() -> None:
    create()
    second = create(NOON_MS + 999, overlap_seconds=0)
    assert signed_with(NOON_MS + 999) == [key_of(second)]


def test_a_secret_that_already_expires_keeps_its_time() -> None:
    create()
    create(NOON_MS, overlap_seconds=60)
    create(NOON_MS + 1000, overlap_seconds=7 * DAY)
    ends = [each.get("expires_at") for each in stored()["webhook_secrets"]]
    assert ends == [None, NOON_MS // 1000 + 1 + 7 * DAY, NOON_MS // 1000 + 60]


def test_the_next_write_removes_expired_secrets_from_the_item() -> None:
    create()
    create(NOON_MS, overlap_seconds=60)
    assert len(stored()["webhook_secrets"]) == 2
    create(NOON_MS + 60_000)
    assert len(stored()["webhook_secrets"]) == 2
    (newest, _) = secret_ids(NOON_MS + 60_000)
    webhook_secrets.delete("billing", newest, NOON_MS + 2 * DAY * 1000, force=True)
    assert stored()["webhook_secrets"] == []


def test_deleting_an_expired_secret_is_404() -> None:
    create()
    (first,) = secret_ids()
    create(NOON_MS, overlap_seconds=1)
    call(delete_handler, "DELETE", 404, secret_id=first)


def test_more_than_five_are_refused_until_one_is_deleted_or_expires() -> None:
    for _ in range(5):
        create()
    with pytest.raises(Conflict, match=r"5 webhook secrets.* Delete one first\."):
        create()
    assert len(secret_ids()) == 5
    webhook_secrets.delete("billing", secret_ids()[2], NOON_MS)
    create()
    with pytest.raises(Conflict):
        create()
    create(NOON_MS + DAY * 1000)
    assert len(secret_ids(NOON_MS + DAY * 1000)) == 2


def test_the_api_answers_the_refusal_as_409() -> None:
    for _ in range(5):
        call(create_handler, "POST", 201)
    assert call(create_handler, "POST", 409)[0]["type"] == "/problems/conflict"


# Concurrent requests and lost answers


def interrupt(
    monkeypatch: pytest.MonkeyPatch, between: Callable[[], object], times: int = 1, late: bool = False
) -> None:
    """Calls ``between`` before a write. With ``late``, the write succeeds but reports a conflict."""
    update_if, left = tables.update_if, [None] * times

    def interrupted(*arguments: Any) -> dict[str, Any] | None:
        if not left:
            return update_if(*arguments)
        left.pop()
        if late:
            update_if(*arguments)
            between()
            return None
        between()
        return update_if(*arguments)

    monkeypatch.setattr(tables, "update_if", interrupted)


@pytest.mark.parametrize("before", [0, 1])
def test_two_concurrent_creations_are_both_kept(monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    for _ in range(before):
        create()
    made: list[str] = []
    interrupt(monkeypatch, lambda: made.append(create()))
    last = create()
    assert signed_with(NOON_MS)[:2] == [key_of(last), key_of(made[0])]
    assert len(secret_ids()) == before + 2
    assert ["expires_at" in each for each in stored()["webhook_secrets"]] == [False, *[True] * (before + 1)]


def test_a_concurrent_creation_and_deletion_both_take_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    create()
    (first,) = secret_ids()
    interrupt(monkeypatch, lambda: webhook_secrets.delete("billing", first, NOON_MS, force=True))
    second = create()
    assert signed_with(NOON_MS) == [key_of(second)]


def test_the_limit_holds_for_concurrent_creations(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        create()
    interrupt(monkeypatch, create)
    with pytest.raises(Conflict):
        create()
    assert len(secret_ids()) == 5


def test_a_creation_that_always_loses_the_race_answers_contended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(tables, "update_if", lambda *arguments: None)
    with pytest.raises(Contended, match="billing"):
        create()


def test_a_creation_whose_answer_was_lost_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    create()
    interrupt(monkeypatch, lambda: None, late=True)
    secret = create(NOON_MS + 1000)
    assert signed_with(NOON_MS + 1000)[0] == key_of(secret)
    assert (len(secret_ids()), stored()["version"]) == (2, 2)


def test_a_deletion_whose_answer_was_lost_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    create()
    interrupt(monkeypatch, lambda: None, late=True)
    webhook_secrets.delete("billing", secret_ids()[0], NOON_MS, force=True)
    assert secret_ids() == []


def test_deleting_the_last_secret_does_not_reset_the_version() -> None:
    """Otherwise a delayed creation could undo the deletion of a secret."""
    create()
    webhook_secrets.delete("billing", secret_ids()[0], NOON_MS, force=True)
    assert stored()["version"] == 2


def test_nothing_is_stored_when_kms_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRETS_KEY_ARN", f"arn:aws:kms:us-east-1:{ACCOUNT}:key/gone")
    refusal, _ = call(create_handler, "POST", 500)
    assert "kms" not in json.dumps(refusal).lower()
    assert tables.get("services", {"service_name": "billing"}) is None


# Secrecy


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The segments that the functions' tracing sends, as JSON. Other tests run without tracing."""
    sent: list[str] = []
    monkeypatch.setattr(xray_recorder.emitter, "send_entity", lambda entity: sent.append(entity.serialize()))
    # The SDK patches these functions permanently. This restores them after the test.
    for owner, name in ((BaseClient, "_make_api_call"), (Endpoint, "prepare_request")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    global_sdk_config.set_sdk_enabled(True)
    trace_botocore()
    with xray_recorder.in_segment("function", sampling=1):
        yield sent
    global_sdk_config.set_sdk_enabled(False)
    delattr(botocore.client, "_xray_enabled")


def test_a_secret_is_neither_stored_nor_logged_nor_traced(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    traces: list[str],
) -> None:
    lines = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", lines)
    caplog.set_level("INFO")
    made, _ = call(create_handler, "POST", 201)
    assert signed_with(now_ms()) == [key_of(made["secret"])]
    item = json.dumps(stored())
    xray_recorder.end_segment()
    assert made["secret_id"] in lines.getvalue()
    assert {"Encrypt", "Decrypt"} <= set(re.findall(r'"operation": ?"(\w+)"', "".join(traces)))
    texts = [lines.getvalue(), *capsys.readouterr(), caplog.text, *traces, item]
    for hidden in (made["secret"].removeprefix("whsec_"), key_of(made["secret"]).hex(), "whsec_"):
        assert not [text for text in texts if hidden in text]


def test_a_secret_copied_to_another_service_cannot_be_decrypted() -> None:
    create()
    item = to_item(stored() | {"service_name": "shipping"})
    boto3.client("dynamodb").put_item(TableName="services", Item=item)
    with pytest.raises(ClientError, match="InvalidCiphertextException"):
        signed_with(NOON_MS, "shipping")
    assert len(signed_with(NOON_MS)) == 1
    with pytest.raises(ClientError, match="InvalidCiphertextException"):
        signed_with(NOON_MS, "shipping")


def test_the_ciphertext_is_bound_to_its_purpose() -> None:
    secret = create()
    ciphertext = base64.b64decode(stored()["webhook_secrets"][0]["ciphertext"])
    context = {"purpose": "webhook-secret", "service_name": "billing"}
    kms = boto3.client("kms")
    assert kms.decrypt(CiphertextBlob=ciphertext, EncryptionContext=context)["Plaintext"] == key_of(secret)
    for other in ({}, context | {"purpose": "paging"}):
        with pytest.raises(ClientError, match="InvalidCiphertextException"):
            kms.decrypt(CiphertextBlob=ciphertext, EncryptionContext=other)


# Signing


def test_notifications_to_a_service_without_a_secret_are_unsigned() -> None:
    assert signed_with(NOON_MS) == []
    headers = webhook_headers([], "97cc-1", NOON_MS + 999, BODY)
    assert headers == {"webhook-id": "97cc-1", "webhook-timestamp": str(NOON_MS // 1000)}


@pytest.mark.parametrize("how", ["deleted", "expired"])
def test_a_service_that_ever_had_a_secret_gets_no_webhook_without_a_signature(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    create()
    create(overlap_seconds=60)
    newest, oldest = secret_ids()
    webhook_secrets.delete("billing", newest, NOON_MS, force=True)
    at_ms = NOON_MS + 60_000
    if how == "deleted":
        at_ms = NOON_MS
        webhook_secrets.delete("billing", oldest, NOON_MS, force=True)
    monkeypatch.setattr(notification, "now_ms", lambda: at_ms)
    with pytest.raises(notification.Rejected, match="billing has no valid webhook secret any more"):
        notification.signed_headers("billing", "97cc-1", BODY)
    create(at_ms)
    assert "webhook-signature" in notification.signed_headers("billing", "97cc-1", BODY)
    assert "webhook-signature" not in notification.signed_headers("shipping", "97cc-1", BODY)


def test_a_target_is_not_tested_without_a_signature_either(target: Target) -> None:
    create()
    webhook_secrets.delete("billing", secret_ids()[0], NOON_MS, force=True)
    job = definition(
        {"schedule": "rate(1 day)", "invocation_type": "http", "invocation_target": target.url}, "topic"
    )
    with pytest.raises(TargetTestFailed) as refused:
        check_target("billing", "nightly", job)
    assert "no valid webhook secret" in refused.value.extra["seen"]["error"]
    assert not target.requests


def test_each_secret_is_decrypted_once_and_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    create()
    create()
    calls: list[str] = []
    for client in (aws.kms(), aws.dynamodb()):
        client.meta.events.register("before-call", lambda model, **_: calls.append(model.name))
    for _ in range(3):
        assert len(signed_with(NOON_MS)) == 2
    assert (calls.count("Decrypt"), calls.count("GetItem")) == (2, 3)


def test_a_signature_matches_the_example_of_the_standard() -> None:
    """As in https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/javascript/src/webhook.test.ts"""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = webhook_headers(
        [key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330_000, b'{"test": 2432232314}'
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def verify(secret: str, headers: dict[str, str], body: bytes = BODY) -> Any:
    return Webhook(secret).verify(body, headers)


def headers_now(at_ms: int | None = None) -> dict[str, str]:
    at_ms = now_ms() if at_ms is None else at_ms
    return webhook_headers(signed_with(at_ms), "97cc-20261123T120000Z", at_ms, BODY)


def test_the_standards_library_verifies_a_signature_with_each_valid_secret() -> None:
    secrets = [create(now_ms()) for _ in range(3)]
    headers = headers_now()
    assert len(headers["webhook-signature"].split(" ")) == 3
    for secret in secrets:
        assert verify(secret, headers) == json.loads(BODY)


def test_the_standards_library_rejects_a_changed_message() -> None:
    secret = create(now_ms())
    headers = headers_now()
    later = str(int(headers["webhook-timestamp"]) + 1)
    for changed, body in (
        ({}, BODY + b" "),
        ({"webhook-id": "97cc-2"}, BODY),
        ({"webhook-timestamp": later}, BODY),
        ({"webhook-signature": headers["webhook-signature"][:-5] + "AAAA="}, BODY),
    ):
        with pytest.raises(WebhookVerificationError):
            verify(secret, headers | changed, body)


def test_the_standards_library_rejects_a_replayed_message() -> None:
    secret = create(now_ms())
    with pytest.raises(WebhookVerificationError, match="too old"):
        verify(secret, headers_now(now_ms() - 6 * 60_000))


def test_a_deleted_or_expired_secret_verifies_no_new_message() -> None:
    start = now_ms() - 10_000
    expired = create(start)
    deleted = create(start, overlap_seconds=5)
    last = create(start)
    revoked = secret_ids(start)[1]
    assert verify(deleted, headers_now()) == json.loads(BODY)
    webhook_secrets.delete("billing", revoked, now_ms())
    headers = headers_now()
    assert verify(last, headers) == json.loads(BODY)
    for secret in (expired, deleted):
        with pytest.raises(WebhookVerificationError, match="No matching signature"):
            verify(secret, headers)


def test_the_secret_of_another_service_verifies_no_message() -> None:
    create(now_ms())
    other = create(now_ms(), service_name="shipping")
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        verify(other, headers_now())


@pytest.mark.parametrize("webhook_id", ["", "a.b", "a b", "a\r\nx: y", "ü"])
def test_an_id_with_characters_that_the_signature_cannot_separate_is_refused(webhook_id: str) -> None:
    with pytest.raises(ValueError, match="webhook-id"):
        webhook_headers([b"k" * 32], webhook_id, NOON_MS, BODY)
