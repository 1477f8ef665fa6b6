"""Verifies that a webhook comes from the manager.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import binascii
import time
from typing import TYPE_CHECKING, Final

from sjm.receiver.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

TOLERANCE_SECONDS: Final = 300
_PREFIX: Final = "whsec_"


class Signatures:
    """The secrets of a service, of which any may have signed a webhook.

    ``secrets`` is a list, or a function that returns the list of this moment, so that a secret can be rotated
    without a restart.
    """

    def __init__(
        self,
        secrets: Iterable[str] | Callable[[], Iterable[str]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self._current: Callable[[], Iterable[str]] | None = None
        self._keys: tuple[bytes, ...] = ()
        if callable(secrets):
            self._current = secrets
        else:
            self._keys = _keys(secrets)

    def verify(self, headers: Mapping[str, str], content: bytes) -> None:
        """Raises Refused unless one of the signatures was made of these bytes in the last five minutes.

        The names of the headers are in lower case.
        """
        webhook_id = headers.get("webhook-id", "")
        timestamp = headers.get("webhook-timestamp", "")
        signatures = headers.get("webhook-signature", "")
        if not (webhook_id and timestamp and signatures):
            raise Refused(401, "the webhook is not signed: it lacks a webhook-id, -timestamp or -signature")
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) < 20):
            raise Refused(401, "webhook-timestamp: expected seconds since 1970")
        age = self._now() - int(timestamp)
        if abs(age) > TOLERANCE_SECONDS:
            when = "old" if age > 0 else "early"
            raise Refused(
                401, f"the webhook is {abs(age):.0f} s {when}: expected at most {TOLERANCE_SECONDS} s"
            )
        keys = self._keys if self._current is None else _keys(self._current())
        signed = b".".join((_encoded(webhook_id), timestamp.encode(), content))
        # All are compared, so that the time says nothing about which one was nearly right.
        if not sum(_is_signed(key, signed, signatures) for key in keys):
            raise Refused(401, "no signature was made with a secret of this service")


def _encoded(header: str) -> bytes:
    """A header in bytes, also one that its server could not decode. No genuine one is such."""
    return header.encode("utf-8", "replace")


def _is_signed(key: bytes, signed: bytes, signatures: str) -> bool:
    import hmac

    expected = b"v1," + binascii.b2a_base64(hmac.digest(key, signed, "sha256"), newline=False)
    return sum(hmac.compare_digest(expected, _encoded(each)) for each in signatures.split()) > 0


def _keys(secrets: Iterable[str]) -> tuple[bytes, ...]:
    if isinstance(secrets, str):
        raise TypeError("secrets: expected a list of secrets, got one string")
    keys = tuple(_key(each, number) for number, each in enumerate(secrets, 1))
    if not keys:
        raise ValueError("secrets: expected at least one; say secrets=None if no webhook is to be taken")
    return keys


def _key(secret: str, number: int) -> bytes:
    """The bytes of a secret. An error never shows the secret."""
    try:
        key = binascii.a2b_base64(secret.strip().removeprefix(_PREFIX).encode("ascii"), strict_mode=True)
    except (ValueError, AttributeError):
        key = b""
    if len(key) < 16:
        raise ValueError(f"secrets: expected whsec_ and base64 of the manager's secret as number {number}")
    return key
