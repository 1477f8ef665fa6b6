"""The services table: the secrets with which a service's webhooks are signed.

One item a service: ``{service_name, webhook_secrets: [{secret_id, ciphertext, created_at, created_by,
expires_at}], version}``, the newest secret first; ``expires_at`` (seconds since 1970) only once a newer one
was made. A change is written on the condition that ``version`` is as it was read, so two at once come one
after the other, and none is lost.

The secrets are encrypted with the stage's key before they are stored, so who reads the table learns nothing.
The service's name is in the encryption context, without which KMS does not decrypt: the secret of one service
is of no use in the item of another.
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
MOST_OVERLAP_SECONDS = 7 * 86_400
MOST_VALID = 5

_SECRET_BYTES = 32
_MOST_TRIES = 8
_PURPOSE = "webhook-secret"


class WebhookSecret(TypedDict):
    """What is stored of a secret; ``ciphertext`` is base64."""

    secret_id: str
    ciphertext: str
    created_at: str
    created_by: str
    expires_at: NotRequired[int]


def create(
    service_name: str, overlap_seconds: int, created_by: str, at_ms: int
) -> tuple[str, WebhookSecret, list[WebhookSecret]]:
    """Makes a secret, valid at once; answers it as ``whsec_<base64>``, what is stored of it, and the others.

    Those that had no end get one ``overlap_seconds`` from now; one that has an end keeps it. The
    secret is answered here and never again. If the answer is lost, make another one: nobody knows the lost
    one, and those before stay valid for the overlap. Raises BadRequest for a name out of form, Conflict if
    there are too many, Contended.
    """
    _check(service_name)
    secret = token_bytes(_SECRET_BYTES)
    made = WebhookSecret(
        secret_id=token_hex(8),
        ciphertext=_encrypted(service_name, secret),
        created_at=iso(at_ms),
        created_by=created_by,
    )
    end = at_ms // 1000 + overlap_seconds

    def change(known: list[WebhookSecret]) -> list[WebhookSecret]:
        # The SDK repeats a write whose answer was lost, and the condition refuses what has happened.
        if any(each["secret_id"] == made["secret_id"] for each in known):
            return known
        ending = [WebhookSecret(**({"expires_at": end} | each)) for each in known]
        kept = _valid(ending, at_ms)
        if len(kept) >= MOST_VALID:
            raise Conflict(
                f"{service_name} has {MOST_VALID} webhook secrets that are valid, and may have no more."
                " Delete one first."
            )
        return [made, *kept]

    others = [each for each in _change(service_name, change, at_ms) if each["secret_id"] != made["secret_id"]]
    return f"whsec_{base64.b64encode(secret).decode()}", made, others


def valid(service_name: str, at_ms: int) -> list[WebhookSecret]:
    """What is stored of the secrets that are valid then, the newest first. Raises BadRequest."""
    _check(service_name)
    return _valid(_read(service_name)[0], at_ms)


def delete(service_name: str, secret_id: str, at_ms: int) -> None:
    """Takes a secret away: from now on nothing is signed with it. Others stay as they are.

    Raises BadRequest for a name out of form, NotFound if there is no such secret (any more), Contended.
    """
    _check(service_name)
    was_seen = False

    def change(known: list[WebhookSecret]) -> list[WebhookSecret]:
        nonlocal was_seen
        left = [each for each in known if each["secret_id"] != secret_id]
        # Once seen and now gone, it was deleted as asked for, perhaps by a write whose answer was lost.
        if left == known and not was_seen:
            raise NotFound(f"{service_name} has no webhook secret {secret_id}, or no more.")
        was_seen = True
        return left

    _change(service_name, change, at_ms)


def valid_secrets(service_name: str, at_ms: int) -> list[bytes]:
    """The keys to sign a service's webhooks with, the newest first; none until the service asks for one.

    What is valid is read consistently each time, so that a secret counts as soon as it is made, and no more
    once it is deleted. If one cannot be decrypted, this raises ClientError rather than sign with fewer.
    """
    known, _ = _read(service_name)
    return [_decrypted(service_name, each["ciphertext"]) for each in _valid(known, at_ms)]


def view(secret: WebhookSecret) -> dict[str, str]:
    """A secret as the API shows it: without what it is."""
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
    """Writes what ``change`` makes of the valid secrets, unless nothing changes; answers what is valid then.

    The expired ones are dropped. If somebody else wrote meanwhile, the change is made again, of what is there
    then.
    """
    for _ in tries(_MOST_TRIES):
        stored, version = _read(service_name)
        known = _valid(stored, at_ms)
        changed = change(known)
        if changed == known:
            return known
        written = tables.update_if(
            setting("SERVICES_TABLE"),
            {"service_name": service_name},
            "SET webhook_secrets = :secrets, version = :next",
            "version = :seen" if version else "attribute_not_exists(version) OR version = :seen",
            {":secrets": changed, ":seen": version, ":next": version + 1},
        )
        if written is not None:
            return changed
    raise Contended(f"The webhook secrets of {service_name} are being changed by others.")


def _read(service_name: str) -> tuple[list[WebhookSecret], int]:
    """All that are stored, expired ones too, and the item's version; 0 if there is no item."""
    item = tables.get(setting("SERVICES_TABLE"), {"service_name": service_name}) or {}
    return item.get("webhook_secrets", []), item.get("version", 0)


def _encrypted(service_name: str, secret: bytes) -> str:
    answer = kms().encrypt(
        KeyId=setting("SECRETS_KEY_ARN"), Plaintext=secret, EncryptionContext=_context(service_name)
    )
    return base64.b64encode(answer["CiphertextBlob"]).decode()


@lru_cache(maxsize=256)
def _decrypted(service_name: str, ciphertext: str) -> bytes:
    """Kept for as long as the execution environment lives: a ciphertext never changes its meaning."""
    answer = kms().decrypt(
        KeyId=setting("SECRETS_KEY_ARN"),
        CiphertextBlob=base64.b64decode(ciphertext),
        EncryptionContext=_context(service_name),
    )
    return answer["Plaintext"]


def _context(service_name: str) -> dict[str, str]:
    """Not secret; IAM policies ask for the purpose."""
    return {"purpose": _PURPOSE, "service_name": service_name}
