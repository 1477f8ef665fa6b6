"""Compares the sample service's check of signatures with the library of Standard Webhooks."""

from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from local.sample_service import TOLERANCE_SECONDS, is_genuine

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = 1_795_435_200
BODY = '{"job_name": "nightly"}'


def headers(secret: str = SECRET, more: str = "") -> dict[str, str]:
    signature = Webhook(secret).sign("id-1", datetime.fromtimestamp(NOW, UTC), BODY)
    return {"webhook-id": "id-1", "webhook-timestamp": str(NOW), "webhook-signature": f"{more}{signature}"}


def test_a_signature_by_the_library_is_genuine() -> None:
    assert is_genuine(SECRET, headers(), BODY.encode(), NOW)
    assert is_genuine(SECRET, headers(more="v1,bm90IG91cnM= "), BODY.encode(), NOW + TOLERANCE_SECONDS)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "id-2"},
        {"webhook-timestamp": str(NOW - 1)},
        {"webhook-timestamp": "now"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,é"},
        headers(OTHER),
    ],
)
def test_changed_headers_are_not_genuine(change: dict[str, str]) -> None:
    assert not is_genuine(SECRET, headers() | change, BODY.encode(), NOW)


def test_a_changed_body_or_an_old_time_is_not_genuine() -> None:
    assert not is_genuine(SECRET, headers(), BODY.encode() + b" ", NOW)
    assert not is_genuine(SECRET, headers(), BODY.encode(), NOW + TOLERANCE_SECONDS + 1)
    assert not is_genuine(SECRET, {}, BODY.encode(), NOW)
