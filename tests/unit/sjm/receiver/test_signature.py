"""Only a webhook that the manager signed within the last five minutes is taken."""

import base64
import time

import pytest
from standardwebhooks.webhooks import Webhook

from sjm.receiver.errors import Refused
from sjm.receiver.signature import Signatures
from tests.unit.sjm.receiver.manager import OTHER_SECRET, SECRET, signed

CONTENT = '{"job_name": "nightly", "payload": "ß"}'.encode()
NOW = 1_795_399_200.0


def reason(headers: dict[str, str], content: bytes = CONTENT, secret: str = SECRET) -> str:
    with pytest.raises(Refused) as raised:
        Signatures([secret], lambda: NOW).verify(headers, content)
    assert raised.value.status == 401
    return raised.value.reason


def test_a_webhook_that_was_signed_with_the_secret_is_taken() -> None:
    Signatures([SECRET], lambda: NOW).verify(signed(CONTENT, at=NOW), CONTENT)


def test_a_webhook_that_the_library_of_the_standard_signs_is_taken() -> None:
    at = time.time()
    from datetime import UTC, datetime

    signature = Webhook(SECRET).sign("id-1", datetime.fromtimestamp(int(at), UTC), CONTENT.decode())
    headers = {
        "webhook-id": "id-1",
        "webhook-timestamp": str(int(at)),
        "webhook-signature": signature,
    }

    Signatures([SECRET]).verify(headers, CONTENT)


def test_one_of_several_signatures_and_one_of_several_secrets_are_enough() -> None:
    both = signed(CONTENT, OTHER_SECRET, SECRET, at=NOW)

    Signatures([SECRET], lambda: NOW).verify(both, CONTENT)
    Signatures([OTHER_SECRET, SECRET], lambda: NOW).verify(signed(CONTENT, SECRET, at=NOW), CONTENT)


def test_a_secret_without_its_prefix_is_the_same_secret() -> None:
    Signatures([SECRET.removeprefix("whsec_")], lambda: NOW).verify(signed(CONTENT, at=NOW), CONTENT)


def test_secrets_may_come_from_a_function_each_time() -> None:
    current = [OTHER_SECRET]
    signatures = Signatures(lambda: current, lambda: NOW)
    with pytest.raises(Refused):
        signatures.verify(signed(CONTENT, at=NOW), CONTENT)
    current.append(SECRET)

    signatures.verify(signed(CONTENT, at=NOW), CONTENT)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_an_unsigned_webhook_is_refused(name: str) -> None:
    headers = signed(CONTENT, at=NOW)
    del headers[name]

    assert "not signed" in reason(headers)


def test_a_changed_body_another_id_and_another_secret_are_refused() -> None:
    headers = signed(CONTENT, at=NOW)

    assert "no signature" in reason(headers, CONTENT + b" ")
    assert "no signature" in reason({**headers, "webhook-id": "other"})
    assert "no signature" in reason({**headers, "webhook-timestamp": str(int(NOW) + 1)})
    assert "no signature" in reason(headers, secret=OTHER_SECRET)
    assert "no signature" in reason({**headers, "webhook-signature": "v2,abc v1 ü"})


@pytest.mark.parametrize(("seconds", "words"), [(-301, "301 s old"), (301, "301 s early")])
def test_a_webhook_of_another_time_is_refused(seconds: int, words: str) -> None:
    assert words in reason(signed(CONTENT, at=NOW + seconds))
    Signatures([SECRET], lambda: NOW).verify(signed(CONTENT, at=NOW + seconds // 301 * 299), CONTENT)


@pytest.mark.parametrize("timestamp", ["now", "-5", "1e9", "٣", "9" * 400])
def test_a_timestamp_that_is_no_number_is_refused(timestamp: str) -> None:
    assert "seconds since 1970" in reason({**signed(CONTENT, at=NOW), "webhook-timestamp": timestamp})


@pytest.mark.parametrize("secret", ["whsec_", "whsec_***", "whsec_c2hvcnQ=", "ü", "whsec_" + "A" * 33])
def test_a_secret_that_is_none_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(ValueError, match="number 2") as raised:
        Signatures([SECRET, secret])

    assert secret.removeprefix("whsec_") not in str(raised.value) or not secret.removeprefix("whsec_")


def test_no_secrets_and_one_string_are_refused() -> None:
    with pytest.raises(ValueError, match="secrets=None"):
        Signatures([])
    with pytest.raises(TypeError, match="a list of secrets"):
        Signatures(SECRET)
    with pytest.raises(ValueError, match="number 1"):
        Signatures([None])  # type: ignore[list-item]


def test_the_secret_is_decoded_as_the_manager_encodes_it() -> None:
    key = bytes(range(24))
    secret = "whsec_" + base64.b64encode(key).decode()

    Signatures([secret], lambda: NOW).verify(signed(CONTENT, secret, at=NOW), CONTENT)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-signature"])
def test_a_header_that_could_not_be_decoded_is_refused(name: str) -> None:
    assert "no signature" in reason({**signed(CONTENT, at=NOW), name: "\udcff"})
