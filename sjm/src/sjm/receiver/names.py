"""The name of an attempt where a file or a thread needs one."""

from __future__ import annotations

from typing import Final

_CHARACTERS: Final = 40


def digest_of(execution_id: str, attempt: int) -> str:
    """A name of letters and digits that no other attempt has."""
    import hashlib

    return hashlib.sha256(f"{execution_id}#{attempt}".encode()).hexdigest()[:_CHARACTERS]


def is_digest(name: str) -> bool:
    """Whether a name has the form of :func:`digest_of`."""
    return len(name) == _CHARACTERS and set(name) <= set("0123456789abcdef")
