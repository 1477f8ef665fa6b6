"""The headers by which a receiver verifies a webhook and drops duplicates.

They follow Standard Webhooks 1.0.0 with symmetric secrets:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence

# The signed parts are joined by full stops, so the id must not contain one.
_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]+")


def webhook_headers(secrets: Sequence[bytes], webhook_id: str, at_ms: int, body: bytes) -> dict[str, str]:
    """Returns ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature`` with one signature per secret.

    ``webhook_id`` must be the same each time a notification is sent. ``at_ms`` is the time of this sending;
    receivers refuse a webhook that is a few minutes old. ``body`` must be exactly the bytes that are sent.
    Without secrets there is no signature. Raises ValueError for an id with a full stop, a space, or a
    character that is not allowed in headers.
    """
    if not _ID.fullmatch(webhook_id):
        raise ValueError(f"{webhook_id!r} cannot be a webhook-id: expected visible ASCII without a full stop")
    timestamp = str(at_ms // 1000)
    headers = {"webhook-id": webhook_id, "webhook-timestamp": timestamp}
    if secrets:
        signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
        headers["webhook-signature"] = " ".join(_signature(secret, signed) for secret in secrets)
    return headers


def _signature(secret: bytes, signed: bytes) -> str:
    return f"v1,{base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()}"
