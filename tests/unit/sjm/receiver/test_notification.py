"""A notification is read as it comes, raw or in an envelope."""

import json

import pytest

from sjm.receiver.errors import Refused
from sjm.receiver.notification import parse

FIELDS = {
    "job_name": "nightly",
    "execution_id": "x-1",
    "attempt": 2,
    "callback_url": "https://manager.example/callback/secret",
    "ttl_seconds": 300,
    "a_field_of_the_future": {"deep": [1]},
}


def test_a_notification_is_read_from_bytes_text_an_object_and_an_envelope() -> None:
    text = json.dumps(FIELDS)
    envelope = json.dumps({"Type": "Notification", "MessageId": "m", "Message": text})

    for message in (text, text.encode(), bytearray(text.encode()), FIELDS, envelope):
        read = parse(message)  # type: ignore[arg-type]
        assert read.key == ("x-1", 2)
        assert read.fields["a_field_of_the_future"] == {"deep": [1]}
        assert (read.is_test, read.is_sync) == (False, False)


def test_a_heartbeat_is_expected_within_a_third_of_the_ttl_unless_it_is_said() -> None:
    assert parse(FIELDS).heartbeat_interval_seconds == 100
    assert parse({**FIELDS, "heartbeat_interval_seconds": 7}).heartbeat_interval_seconds == 7
    assert parse({**FIELDS, "heartbeat_interval_seconds": "7", "ttl_seconds": -1}).ttl_seconds == 300
    assert parse({**FIELDS, "ttl_seconds": 1}).heartbeat_interval_seconds == 1


def test_a_test_and_a_sync_job_need_no_callback_url() -> None:
    test = parse({"test": True, "job_name": "nightly"})
    sync = parse({"job_name": "nightly", "execution_id": "x", "async": False})

    assert test.is_test
    assert (sync.is_sync, sync.key, sync.callback_url) == (True, ("x", 1), "")


@pytest.mark.parametrize("name", ["job_name", "execution_id", "callback_url"])
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(Refused, match=f"no {name}"):
        parse({**FIELDS, name: ""})


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        ("[" * 200_000, "not JSON"),
        ("[]", "not an object, but list"),
        ({**FIELDS, "attempt": True}, "attempt"),
        ({**FIELDS, "attempt": "1"}, "attempt"),
        ({"Type": "Notification", "Message": "7"}, "not an object, but int"),
        ({"Type": "SubscriptionConfirmation", "Message": "x"}, "no job_name"),
    ],
)
def test_what_is_no_notification_is_refused_in_words(message: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words) as raised:
        parse(message)

    assert raised.value.status == 400


def test_its_description_has_no_secret() -> None:
    assert "secret" not in repr(parse(FIELDS))
