"""How a service knows that a webhook is the manager's: its signature, as Standard Webhooks has it.

Nothing but the standard library, so that it can be copied as it is; the library `standardwebhooks`, which
there is for most languages, does the same.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

TOLERANCE_SECONDS = 300


def is_genuine(secret: str, headers: Mapping[str, str], content: bytes, now_seconds: float) -> bool:
    """Whether one of the signatures is made with this secret (`whsec_…`), of these bytes, and lately.

    While secrets are rotated a webhook has several signatures. An old one may be somebody's recording.
    """
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(now_seconds - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join((webhook_id.encode(), timestamp.encode(), content))
    expected = f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"
    found = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(expected.encode(), each.encode()) for each in found)
