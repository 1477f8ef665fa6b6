"""Callback tokens.

A token is ``<execution_id>.<secret>``: 32 random bytes, made anew each time that the service is notified;
from the second attempt on, the attempt and a full stop stand before them. The record keeps only the SHA-256,
so neither a reader of the table nor one of Step Functions' history can call back.
"""

import hashlib
import hmac
import secrets

_SECRET_BYTES = 32


def new_secret(attempt: int) -> str:
    """43 characters that are safe in a URL, from the second attempt on behind ``<attempt>.``."""
    random = secrets.token_urlsafe(_SECRET_BYTES)
    return random if attempt == 1 else f"{attempt}.{random}"


def attempt_of(secret: str) -> int:
    """Which attempt a genuine secret was made for."""
    number, dot, _ = secret.partition(".")
    return int(number) if dot else 1


def hash_of(secret: str) -> str:
    """SHA-256 in hexadecimal. The secret is random and long, so it needs no salt."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def callback_url(base_url: str, execution_id: str, secret: str) -> str:
    """Where the service calls back."""
    return f"{base_url}/{execution_id}.{secret}"


def split_token(token: str) -> tuple[str, str]:
    """The execution_id and the secret of a token; what is not one gives parts that match nothing."""
    execution_id, _, secret = token.partition(".")
    return execution_id, secret


def is_genuine(secret: str, hashes: list[str]) -> bool:
    """Whether a secret is one of those handed out; takes as long whether it is or not."""
    digest = hash_of(secret)
    matches = [hmac.compare_digest(digest, known) for known in hashes]
    return any(matches)
