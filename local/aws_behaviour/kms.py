"""KMS: which ciphertexts it decrypts."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Any

from ministack.services import kms

from local.aws_behaviour.wrapping import around

BLOBS = ("CiphertextBlob", "PrivateKeyCiphertextBlob")
SEAL = secrets.token_bytes(32)
SEAL_BYTES = hashlib.sha256().digest_size


def apply() -> None:
    """Corrects KMS."""
    refuse_changed_ciphertexts()


def refuse_changed_ciphertexts() -> None:
    """AWS refuses a changed ciphertext and one of another key; ministack decrypts it to something else.

    https://docs.aws.amazon.com/kms/latest/developerguide/crypto_authen.html
    https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html
    """

    @around(kms, "json_response")
    def json_response(original: Callable[..., Any], data: Any, *arguments: Any, **named: Any) -> Any:
        for name in BLOBS:
            blob = base64.b64decode(data[name]) if isinstance(data, dict) and name in data else b""
            if blob and blob.startswith(key_id_of(data)):
                data = data | {name: base64.b64encode(blob + seal_of(blob)).decode()}
        return original(data, *arguments, **named)

    @around(kms, "_decrypt")
    def decrypt(original: Callable[..., Any], data: dict[str, Any]) -> Any:
        key = kms._resolve_key(data["KeyId"]) if data.get("KeyId") else None
        if key is not None and "_symmetric_key" not in key:
            return original(data)
        sealed = base64.b64decode(data.get("CiphertextBlob", ""))
        blob, seal = sealed[:-SEAL_BYTES], sealed[-SEAL_BYTES:]
        if not hmac.compare_digest(seal, seal_of(blob)):
            return kms.error_response_json("InvalidCiphertextException", "", 400)
        if key is not None and not blob.startswith(key_id_of({"KeyId": key["Arn"]})):
            message = "The key ID in the request does not identify a CMK that can perform this operation."
            return kms.error_response_json("IncorrectKeyException", message, 400)
        return original(data | {"CiphertextBlob": base64.b64encode(blob).decode()})


def key_id_of(answer: dict[str, Any]) -> bytes:
    """The prefix of a symmetric key's ciphertexts."""
    return str(answer.get("KeyId", "")).rpartition("/")[2].encode()


def seal_of(blob: bytes) -> bytes:
    """The seal of a blob, which only this process can compute."""
    return hmac.digest(SEAL, blob, "sha256")
