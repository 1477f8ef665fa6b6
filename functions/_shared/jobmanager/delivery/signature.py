"""The headers of a webhook by which its receiver knows that it is ours, and drops what it has seen.

As Standard Webhooks 1.0.0 has it, with symmetric secrets:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence

# What is signed is joined by full stops, so none may be in the id.
_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]+")


def webhook_headers(secrets: Sequence[bytes], webhook_id: str, at_ms: int, body: bytes) -> dict[str, str]:
    """``webhook-id``, ``webhook-timestamp`` (seconds), and ``webhook-signature`` with one for each secret.

    ``webhook_id`` stays the same however often one notification is sent; ``at_ms`` is when it is sent this
    time, and receivers refuse what is some minutes old. ``body`` must be the very bytes that are
    sent. Without a secret there is no signature. Raises ValueError for an id with a full stop, a blank, or
    what no header carries.
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
