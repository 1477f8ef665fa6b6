"""Pages of lists: their size, and the opaque token ``more`` that fetches the next page.

``more`` is the position at which the next page begins, encrypted by KMS with the search as encryption
context. It reveals nothing to its holder. It cannot be decrypted if it was altered or is used with another
search:
https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html
CloudTrail logs the encryption context in plain text, so the context holds only a hash of the search. Each
page except the last costs one Encrypt, and each request with ``more`` one Decrypt.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from jobmanager.api.fields import bad_field
from jobmanager.api.search import Search
from jobmanager.aws.clients import kms
from jobmanager.core.errors import BadRequest
from jobmanager.core.settings import setting

DEFAULT_LIMIT = 50
MAX = 100
MORE_EXPECTED = "expected paging.more of the previous page, with the same search"

# Lambda answers with at most 6 MB: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
_MAX_PAGE_BYTES = 5_000_000

# A position has at most 256 characters. KMS encrypts at most 4,096 bytes and adds about 150:
# https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html
_MAX_MORE_CHARACTERS = 2048

# KMS raises these for a ciphertext that was altered, or belongs to another key or search:
# https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html
_BAD_CIPHERTEXT = ("InvalidCiphertextException", "IncorrectKeyException", "ValidationException")


def page(
    results: list[dict[str, Any]],
    next_position: str | None,
    searched: Search,
    key_of: Callable[[dict[str, Any]], str],
) -> dict[str, Any]:
    """Returns ``{"results": […], "paging": {"more": …}}``; ``more`` is absent on the last page.

    If the results are too large for one answer, the page ends early. ``key_of`` returns the position of a
    result, behind which the next page then begins.
    """
    fitting = _fitting(results)
    if len(fitting) < len(results):
        next_position = key_of(fitting[-1])
    return {"results": fitting, "paging": {"more": token(next_position, searched)} if next_position else {}}


def _fitting(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the first results that fit into one answer, at least one."""
    size = 0
    for count, result in enumerate(results):
        # The body is a string in the JSON that the function returns, so it is escaped twice.
        size += len(json.dumps(json.dumps(result, ensure_ascii=False)))
        if count and size > _MAX_PAGE_BYTES:
            return results[:count]
    return results


def position(more: Any, searched: Search) -> str | None:
    """Returns the position at which the requested page begins; None for the first. Raises BadRequest."""
    if more is None:
        return None
    ciphertext = _as_bytes(more)
    try:
        answer = kms().decrypt(
            CiphertextBlob=ciphertext, KeyId=setting("PAGING_KEY_ARN"), EncryptionContext=_context(searched)
        )
    except ClientError as error:
        if _is_bad_token(error):
            raise _bad_more() from None
        raise
    return answer["Plaintext"].decode()


def limit(value: Any) -> int:
    """Returns the requested page size: 1 to 100, by default 50. Raises BadRequest."""
    return bounded_count("limit", value, DEFAULT_LIMIT)


def bounded_count(name: str, value: Any, default: int, most: int = MAX) -> int:
    """Parses a field that holds a number from 1 to ``most``. Raises BadRequest."""
    if value is None:
        return default
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= most:
        raise bad_field(name, f"expected a whole number from 1 to {most}")
    return int(text)


def token(next_position: str, searched: Search) -> str:
    """Returns ``more`` for a position; :func:`position` is the inverse."""
    answer = kms().encrypt(
        KeyId=setting("PAGING_KEY_ARN"),
        Plaintext=next_position.encode(),
        EncryptionContext=_context(searched),
    )
    return _as_text(answer["CiphertextBlob"])


def _context(searched: Search) -> dict[str, str]:
    digest = hashlib.sha256(json.dumps(searched, sort_keys=True).encode()).hexdigest()
    return {"purpose": "paging", "query": digest}


def _as_bytes(more: Any) -> bytes:
    """The inverse of :func:`_as_text`; raises BadRequest for any text that ``_as_text`` did not return."""
    if not isinstance(more, str) or not 0 < len(more) <= _MAX_MORE_CHARACTERS:
        raise _bad_more()
    try:
        ciphertext = base64.urlsafe_b64decode(more + "=" * (-len(more) % 4))
    except (binascii.Error, ValueError):
        raise _bad_more() from None
    if _as_text(ciphertext) != more:
        raise _bad_more()
    return ciphertext


def _as_text(ciphertext: bytes) -> str:
    return base64.urlsafe_b64encode(ciphertext).decode().rstrip("=")


def _is_bad_token(error: ClientError) -> bool:
    """Whether KMS refused the ciphertext, and not the function's role.

    KMS raises AccessDeniedException for both: for a ciphertext that names a key which does not exist, and for
    a role that is not authorized. Only the message of the second says "not authorized".
    """
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message") or ""
    return code in _BAD_CIPHERTEXT or (code == "AccessDeniedException" and "not authorized" not in message)


def _bad_more() -> BadRequest:
    return bad_field("more", MORE_EXPECTED)
