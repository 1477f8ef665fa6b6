"""``more`` reveals nothing to the caller, and is valid only for the search that it belongs to."""

import base64
import os
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobmanager.api import page_tokens as paging
from jobmanager.api.page_tokens import page, position
from jobmanager.api.search import canonical
from jobmanager.aws.clients import kms
from jobmanager.core.errors import BadRequest
from tests.exhaustive import cases

needs_the_cloud = pytest.mark.usefixtures("cloud")
SEARCHED = canonical("jobs", service_name=["billing", "shipping"], tags={"team": "payments"})
PLACE = "billing/nightly"


def more_of(searched: dict[str, Any] = SEARCHED, place: str = PLACE) -> str:
    more: str = page([], place, searched, str)["paging"]["more"]
    return more


def refused(more: Any, searched: dict[str, Any] = SEARCHED) -> bool:
    with pytest.raises(BadRequest) as refusal:
        position(more, searched)
    (error,) = refusal.value.extra["errors"]
    return bool(error == {"pointer": "/more", "detail": paging.MORE_EXPECTED})


@needs_the_cloud
def test_more_leads_back_to_its_position() -> None:
    assert position(more_of(), SEARCHED) == PLACE
    assert position(None, SEARCHED) is None


@needs_the_cloud
def test_more_reveals_nothing_and_differs_each_time() -> None:
    more = more_of()
    sealed = base64.urlsafe_b64decode(more + "=" * (-len(more) % 4))
    assert b"billing" not in sealed
    assert b"nightly" not in sealed
    assert more != more_of()
    assert set(more) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@needs_the_cloud
@pytest.mark.samples
@settings(
    max_examples=cases(15, 200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 999), st.sampled_from("AQgw048-_.=é \x00"))
def test_no_character_of_more_can_be_changed(at: int, other: str) -> None:
    more = more_of()
    at %= len(more)
    assert refused(more[:at] + (other if other != more[at] else "z") + more[at + 1 :])


@needs_the_cloud
@pytest.mark.samples
@settings(
    max_examples=cases(15, 200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(st.text(), st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="))))
def test_an_arbitrary_text_is_refused_as_more(more: str) -> None:
    assert refused(more)


@needs_the_cloud
@pytest.mark.parametrize("more", ["", 5, True, ["x"], {}, "A" * 2049, "eyJhZnRlciI6ImIvYSJ9"])
def test_a_malformed_more_is_refused(more: Any) -> None:
    assert refused(more)


@needs_the_cloud
def test_a_shortened_or_lengthened_more_is_refused() -> None:
    more = more_of()
    for changed in (more[:-1], more[1:], more + "A", more + "=", f" {more}", f"{more}\n", f"{more},{more}"):
        assert refused(changed)


@needs_the_cloud
@pytest.mark.parametrize(
    "other",
    [
        canonical("jobs"),
        canonical("executions", service_name=["billing", "shipping"], tags={"team": "payments"}),
        canonical("jobs", service_name=["billing"], tags={"team": "payments"}),
        canonical("jobs", service_name=["billing", "shipping"], tags={"team": "search"}),
        canonical("jobs", job_name=["billing", "shipping"], tags={"team": "payments"}),
        canonical("jobs", service_name=["billing,shipping"], tags={"team": "payments"}),
    ],
)
def test_more_is_refused_for_another_search(other: dict[str, Any]) -> None:
    assert refused(more_of(), other)


@needs_the_cloud
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this."),
        ("AccessDeniedException", "The ciphertext refers to a customer master key that does not exist."),
    ],
)
def test_a_more_encrypted_with_another_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    more = more_of()
    monkeypatch.setattr(kms(), "decrypt", fails_with(code, message))
    assert refused(more)


@needs_the_cloud
def test_decrypting_names_the_expected_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []

    def note(**request: Any) -> dict[str, Any]:
        keys.append(request["KeyId"])
        return {"Plaintext": PLACE.encode()}

    monkeypatch.setattr(kms(), "decrypt", note)
    assert position(more_of(), SEARCHED) == PLACE
    assert keys == [os.environ["PAGING_KEY_ARN"]]


@needs_the_cloud
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ThrottlingException", "slowly"),
        ("KMSInternalException", "sorry"),
        ("DisabledException", "the key is disabled"),
        ("AccessDeniedException", "User: role is not authorized to perform: kms:Decrypt"),
    ],
)
def test_a_failure_of_kms_is_not_a_bad_request(
    monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    more = more_of()
    monkeypatch.setattr(kms(), "decrypt", fails_with(code, message))
    with pytest.raises(ClientError, match=code):
        position(more, SEARCHED)


@needs_the_cloud
def test_cloudtrail_logs_only_a_hash_of_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = []

    def note(**request: Any) -> dict[str, Any]:
        contexts.append(request["EncryptionContext"])
        return {"CiphertextBlob": b"sealed"}

    monkeypatch.setattr(kms(), "encrypt", note)
    more_of()
    (context,) = contexts
    assert context.keys() == {"purpose", "query"}
    assert context["purpose"] == "paging"
    assert len(bytes.fromhex(context["query"])) == 32


def fails_with(code: str, message: str = "") -> Any:
    def call(**request: Any) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": message}}, "Decrypt")

    return call


@pytest.mark.usefixtures("cloud")
def test_the_last_page_has_no_more_and_needs_no_call_of_kms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kms(), "encrypt", fails_with("NotToBeCalled"))
    monkeypatch.setattr(kms(), "decrypt", fails_with("NotToBeCalled"))
    assert position(None, SEARCHED) is None
    assert page([{"a": 1}], None, SEARCHED, str) == {"results": [{"a": 1}], "paging": {}}


def test_equal_searches_in_another_order_have_the_same_form() -> None:
    one = canonical("jobs", owner=["b", "a", "b"], service_name=[], tags={"x": "1", "y": "2"}, since=None)
    other = canonical("jobs", tags={"y": "2", "x": "1"}, owner=["a", "b"])
    assert paging._context(one) == paging._context(other)
