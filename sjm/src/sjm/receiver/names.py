"""The name of an attempt where a file or a thread needs one."""

from __future__ import annotations


def digest_of(execution_id: str, attempt: int) -> str:
    """A name of letters and digits that no other attempt has."""
    import hashlib

    return hashlib.sha256(f"{execution_id}#{attempt}".encode()).hexdigest()[:40]
