"""Which texts stand in an item of their own, so that a write of the main item does not pay for them.

DynamoDB bills a write by the size of the whole item, whatever part of it changes:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html#write-operation-consumption
"""

import hashlib

MAX_INLINE_BYTES = 4096
"""A text of more bytes of UTF-8 stands in an item of its own."""


def is_large(text: str | None) -> bool:
    """Whether a text stands in an item of its own."""
    return text is not None and len(_encoded(text)) > MAX_INLINE_BYTES


def sha256(text: str) -> str:
    """Returns the hash that identifies a text, in hex."""
    return hashlib.sha256(_encoded(text)).hexdigest()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
