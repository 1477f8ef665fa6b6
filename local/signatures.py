"""How a service verifies that a webhook is from the manager: by its signature, as in Standard Webhooks.

This module uses only the standard library, so you can copy it. The library `standardwebhooks`, which exists
for most languages, does the same.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

TOLERANCE_SECONDS = 300


def is_genuine(secret: str, headers: Mapping[str, str], content: bytes, now_seconds: float) -> bool:
    """Whether one of the signatures is recent and was made with this secret (`whsec_…`) for these bytes.

    During a rotation of secrets, a webhook has several signatures. An old webhook may be a replay.
    """
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(now_seconds - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join((webhook_id.encode(), timestamp.encode(), content))
    expected = f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"
    found = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(expected.encode(), each.encode()) for each in found)
