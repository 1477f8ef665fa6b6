"""Callback tokens: ``<execution_id>.<secret>``.

A secret is 32 random bytes, new for each notification. From the second attempt on it begins with the number
of the attempt and a full stop. The record keeps only the SHA-256 of the secret, so nobody who can read the
table or the history of Step Functions can send a callback.
"""

import hashlib
import hmac
import secrets

_SECRET_BYTES = 32


def new_secret(attempt: int) -> str:
    """Returns 43 random URL-safe characters, from the second attempt on prefixed with ``<attempt>.``."""
    random = secrets.token_urlsafe(_SECRET_BYTES)
    return random if attempt == 1 else f"{attempt}.{random}"


def attempt_of(secret: str) -> int:
    """Returns the number of the attempt that a genuine secret belongs to."""
    number, dot, _ = secret.partition(".")
    return int(number) if dot else 1


def hash_of(secret: str) -> str:
    """Returns the SHA-256 in hexadecimal. The secret is long and random, so it needs no salt."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def callback_url(base_url: str, execution_id: str, secret: str) -> str:
    """Returns the URL to which the service sends its callbacks."""
    return f"{base_url}/{execution_id}.{secret}"


def split_token(token: str) -> tuple[str, str]:
    """Splits a token into execution_id and secret; parts of an invalid token match no execution."""
    execution_id, _, secret = token.partition(".")
    return execution_id, secret


def is_genuine(secret: str, hashes: list[str]) -> bool:
    """Whether a secret has one of these hashes. Takes the same time for every secret."""
    digest = hash_of(secret)
    matches = [hmac.compare_digest(digest, known) for known in hashes]
    return any(matches)
