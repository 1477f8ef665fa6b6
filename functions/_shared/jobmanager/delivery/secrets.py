"""The services table: the secrets that sign a service's webhooks.

One item for each service: ``{service_name, webhook_secrets: [{secret_id, ciphertext, created_at, created_by,
expires_at}], version}``, the newest secret first. A secret gets ``expires_at`` (seconds since 1970) when a
newer one is created. A write requires that ``version`` is still the one that was read, so of two concurrent
changes the second is applied to the result of the first.

The first secret creates the item, and nothing deletes it. So the item remembers that the service expects
signatures, also when no secret is left.

The secrets are encrypted with the stage's key before they are stored, so the table reveals none. The
encryption context holds the name of the service, and KMS decrypts only with the same context: the secret of
one service cannot be used in the item of another.
https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html
"""

import base64
from collections.abc import Callable
from functools import lru_cache
from secrets import token_bytes, token_hex
from typing import NotRequired, TypedDict

from jobmanager.aws import tables
from jobmanager.aws.clients import kms
from jobmanager.core.clock import iso
from jobmanager.core.errors import BadRequest, Conflict, Contended, NotFound
from jobmanager.core.names import service_name_errors
from jobmanager.core.retry import tries
from jobmanager.core.settings import setting

DEFAULT_OVERLAP_SECONDS = 86_400
MAX_OVERLAP_SECONDS = 7 * 86_400
MAX_VALID = 5

_SECRET_BYTES = 32
_MAX_TRIES = 8
_PURPOSE = "webhook-secret"


class NoValidSecret(Exception):
    """The service had a secret once, and none is valid now: no webhook may go out without a signature."""


class WebhookSecret(TypedDict):
    """A secret as it is stored; ``ciphertext`` is base64."""

    secret_id: str
    ciphertext: str
    created_at: str
    created_by: str
    expires_at: NotRequired[int]


def create(
    service_name: str, overlap_seconds: int, created_by: str, at_ms: int
) -> tuple[str, WebhookSecret, list[WebhookSecret]]:
    """Creates a secret, valid at once; returns it as ``whsec_<base64>``, its stored form, and the others.

    The others expire ``overlap_seconds`` from now, unless they expire already. The secret is returned only
    here. If the response is lost, create another: nobody knows the lost one, and the earlier ones stay valid
    for the overlap.

    Raises BadRequest for an invalid service name, Conflict if there are too many secrets, and Contended.
    """
    _check(service_name)
    secret = token_bytes(_SECRET_BYTES)
    created = WebhookSecret(
        secret_id=token_hex(8),
        ciphertext=_encrypted(service_name, secret),
        created_at=iso(at_ms),
        created_by=created_by,
    )
    end = at_ms // 1000 + overlap_seconds

    def change(known: list[WebhookSecret]) -> list[WebhookSecret]:
        # The SDK retries a write whose response was lost. The condition then fails, because the secret is
        # stored.
        if any(each["secret_id"] == created["secret_id"] for each in known):
            return known
        expiring = [WebhookSecret(**({"expires_at": end} | each)) for each in known]
        kept = _valid(expiring, at_ms)
        if len(kept) >= MAX_VALID:
            raise Conflict(
                f"{service_name} has {MAX_VALID} webhook secrets that are valid, and may have no more."
                " Delete one first."
            )
        return [created, *kept]

    others = [
        each for each in _change(service_name, change, at_ms) if each["secret_id"] != created["secret_id"]
    ]
    return f"whsec_{base64.b64encode(secret).decode()}", created, others


def valid(service_name: str, at_ms: int) -> list[WebhookSecret]:
    """Returns the stored form of the secrets that are valid at a time, newest first. Raises BadRequest."""
    _check(service_name)
    return _valid(_read(service_name)[0], at_ms)


def delete(service_name: str, secret_id: str, at_ms: int, force: bool = False) -> None:
    """Deletes a secret: from now on no webhook is signed with it.

    Raises BadRequest for an invalid service name, NotFound if there is no such valid secret, and Contended.
    Without ``force`` it raises Conflict if no secret would be left that does not expire.
    """
    _check(service_name)
    existed = False

    def change(known: list[WebhookSecret]) -> list[WebhookSecret]:
        nonlocal existed
        left = [each for each in known if each["secret_id"] != secret_id]
        # If it existed and is gone now, it was deleted: perhaps by our own write, whose response was lost.
        if left == known and not existed:
            raise NotFound(
                f"{service_name} has no webhook secret {secret_id}, or it has expired. List the valid ones."
            )
        if left != known and not force and all("expires_at" in each for each in left):
            raise Conflict(
                f"Without {secret_id} no webhook secret of {service_name} stays valid, and its webhooks fail"
                " when the last one has expired. Create another first, or repeat the request with"
                " ?force=true."
            )
        existed = True
        return left

    _change(service_name, change, at_ms)


def valid_secrets(service_name: str, at_ms: int) -> list[bytes]:
    """Returns the keys that sign a service's webhooks, newest first; empty if the service never had a secret.

    The list is read consistently each time, so a secret is used as soon as it is created, and no longer once
    it is deleted. If one cannot be decrypted, this raises ClientError, and no webhook is signed with fewer
    keys. Raises NoValidSecret if the service had a secret once, and all were deleted or have expired.
    """
    known, version = _read(service_name)
    valid = _valid(known, at_ms)
    if version and not valid:
        raise NoValidSecret(
            f"{service_name} has no valid webhook secret any more, and a service that had one gets no webhook"
            " without a signature: create a secret"
        )
    return [_decrypted(service_name, each["ciphertext"]) for each in valid]


def view(secret: WebhookSecret) -> dict[str, str]:
    """Returns a secret as the API shows it: without the secret itself."""
    shown = {
        "secret_id": secret["secret_id"],
        "created_at": secret["created_at"],
        "created_by": secret["created_by"],
    }
    return shown | ({"expires_at": iso(secret["expires_at"] * 1000)} if "expires_at" in secret else {})


def _check(service_name: str) -> None:
    errors = service_name_errors(service_name)
    if errors:
        raise BadRequest(f"service_name: {errors[0]['detail']}", errors=errors)


def _valid(known: list[WebhookSecret], at_ms: int) -> list[WebhookSecret]:
    return [each for each in known if "expires_at" not in each or at_ms < each["expires_at"] * 1000]


def _change(
    service_name: str, change: Callable[[list[WebhookSecret]], list[WebhookSecret]], at_ms: int
) -> list[WebhookSecret]:
    """Applies ``change`` to the valid secrets and writes the result, if it differs; returns the result.

    Expired secrets are dropped. If somebody else wrote meanwhile, ``change`` is applied again to the secrets
    that are stored by then.
    """
    for _ in tries(_MAX_TRIES):
        stored, version = _read(service_name)
        known = _valid(stored, at_ms)
        changed = change(known)
        if changed == known:
            return known
        written = tables.update_if(
            setting("SERVICES_TABLE"),
            {"service_name": service_name},
            "SET webhook_secrets = :secrets, version = :next",
            "version = :read" if version else "attribute_not_exists(version) OR version = :read",
            {":secrets": changed, ":read": version, ":next": version + 1},
        )
        if written is not None:
            return changed
    raise Contended(f"The webhook secrets of {service_name} are being changed by others.")


def _read(service_name: str) -> tuple[list[WebhookSecret], int]:
    """Returns all stored secrets, expired ones too, and the item's version; 0 if there is no item."""
    item = tables.get(setting("SERVICES_TABLE"), {"service_name": service_name}) or {}
    return item.get("webhook_secrets", []), item.get("version", 0)


def _encrypted(service_name: str, secret: bytes) -> str:
    answer = kms().encrypt(
        KeyId=setting("SECRETS_KEY_ARN"), Plaintext=secret, EncryptionContext=_context(service_name)
    )
    return base64.b64encode(answer["CiphertextBlob"]).decode()


@lru_cache(maxsize=256)
def _decrypted(service_name: str, ciphertext: str) -> bytes:
    """Decrypts a secret. Cached for the life of the execution environment: the plaintext never changes."""
    answer = kms().decrypt(
        KeyId=setting("SECRETS_KEY_ARN"),
        CiphertextBlob=base64.b64decode(ciphertext),
        EncryptionContext=_context(service_name),
    )
    return answer["Plaintext"]


def _context(service_name: str) -> dict[str, str]:
    """Returns the encryption context. It is not secret; IAM policies require the purpose in it."""
    return {"purpose": _PURPOSE, "service_name": service_name}
