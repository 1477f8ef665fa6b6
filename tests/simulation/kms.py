"""KMS: encrypts by writing down the context, and decrypts for the same context only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.stand_ins.errors import client_error


class Keys:
    """One key."""

    def encrypt(self, KeyId: str, Plaintext: bytes, EncryptionContext: Mapping[str, str]) -> dict[str, Any]:
        """What boto3's client does."""
        written = json.dumps([EncryptionContext, Plaintext.hex()], sort_keys=True)
        return {"CiphertextBlob": written.encode(), "KeyId": KeyId}

    def decrypt(
        self, KeyId: str, CiphertextBlob: bytes, EncryptionContext: Mapping[str, str]
    ) -> dict[str, Any]:
        """What boto3's client does."""
        context, plaintext = json.loads(CiphertextBlob)
        if context != EncryptionContext:
            raise client_error("InvalidCiphertextException", "the context is another", "Decrypt")
        return {"Plaintext": bytes.fromhex(plaintext), "KeyId": KeyId}
