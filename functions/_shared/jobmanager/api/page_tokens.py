"""Lists in pages: how many a page holds, and the opaque ``more`` with which the next one is asked for.

``more`` is where the next page begins, encrypted by KMS, with the search as encryption context. So it says
nothing to who holds it, and neither changed nor with another search can it be decrypted:
https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html
CloudTrail logs that context in plain text, so of the search it has a hash only. A page that is not the last
costs one Encrypt, and a request with ``more`` one Decrypt.
"""

import base64
import binascii
import hashlib
import json
import re
from typing import Any

from botocore.exceptions import ClientError

from jobmanager.api.fields import bad_field
from jobmanager.api.search import Search
from jobmanager.aws.clients import kms
from jobmanager.core.errors import BadRequest
from jobmanager.core.settings import setting

DEFAULT_LIMIT = 50
MOST = 100
MORE_EXPECTED = "expected the value of paging.more of the page before, with the same search"

# A position has 256 characters at most, and KMS, which encrypts 4,096 bytes at most, adds some 150 bytes:
# https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html
_MOST_MORE_CHARACTERS = 2048

# What KMS says of a ciphertext that is not as it gave it out, or of another key or search:
# https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html
_NOT_OURS = ("InvalidCiphertextException", "IncorrectKeyException", "ValidationException")


def page(results: list[dict[str, Any]], next_position: str | None, searched: Search) -> dict[str, Any]:
    """``{"results": […], "paging": {"more": …}}``; ``more`` is absent on the last page."""
    return {"results": results, "paging": {"more": _sealed(next_position, searched)} if next_position else {}}


def position(more: Any, searched: Search) -> str | None:
    """Where the page begins that is asked for with ``more``; None for the first. Raises BadRequest."""
    if more is None:
        return None
    sealed = _bytes(more)
    try:
        answer = kms().decrypt(
            CiphertextBlob=sealed, KeyId=setting("PAGING_KEY_ARN"), EncryptionContext=_context(searched)
        )
    except ClientError as error:
        if _is_the_callers(error):
            raise _bad_more() from None
        raise
    return answer["Plaintext"].decode()


def limit(value: Any) -> int:
    """How many results a page shall hold: 1 to 100, by default 50. Raises BadRequest."""
    return how_many("limit", value, DEFAULT_LIMIT)


def how_many(name: str, value: Any, default: int) -> int:
    """A field that says how many of something are wanted: 1 to 100. Raises BadRequest."""
    if value is None:
        return default
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MOST:
        raise bad_field(name, f"expected a whole number from 1 to {MOST}")
    return int(text)


def _sealed(next_position: str, searched: Search) -> str:
    answer = kms().encrypt(
        KeyId=setting("PAGING_KEY_ARN"),
        Plaintext=next_position.encode(),
        EncryptionContext=_context(searched),
    )
    return _text(answer["CiphertextBlob"])


def _context(searched: Search) -> dict[str, str]:
    digest = hashlib.sha256(json.dumps(searched, sort_keys=True).encode()).hexdigest()
    return {"purpose": "paging", "query": digest}


def _bytes(more: Any) -> bytes:
    """The inverse of :func:`_text`, of exactly what that gave out; raises BadRequest."""
    if not isinstance(more, str) or not 0 < len(more) <= _MOST_MORE_CHARACTERS:
        raise _bad_more()
    try:
        sealed = base64.urlsafe_b64decode(more + "=" * (-len(more) % 4))
    except (binascii.Error, ValueError):
        raise _bad_more() from None
    if _text(sealed) != more:
        raise _bad_more()
    return sealed


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _is_the_callers(error: ClientError) -> bool:
    """Whether KMS refuses the ciphertext, rather than us.

    AccessDeniedException it says of both: of a ciphertext that names a key that does not exist, and of a role
    that is not authorized, which it then calls by these words.
    """
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message") or ""
    return code in _NOT_OURS or (code == "AccessDeniedException" and "not authorized" not in message)


def _bad_more() -> BadRequest:
    return bad_field("more", MORE_EXPECTED)
