"""The headers by which a receiver verifies a webhook: Standard Webhooks 1.0.0 with symmetric secrets.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence


def signed_headers(keys: Sequence[bytes], webhook_id: str, at_seconds: int, content: bytes) -> dict[str, str]:
    """Returns the id, the timestamp and, with keys, one signature of these bytes for each of them."""
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(at_seconds)}
    if keys:
        signed = b".".join((webhook_id.encode(), str(at_seconds).encode(), content))
        headers["webhook-signature"] = " ".join(
            f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}" for key in keys
        )
    return headers
