"""What is rehearsed, and how long each thing may take."""

import base64
import binascii
from dataclasses import dataclass, field

SHORTEST_TTL_SECONDS = 10
"""The smallest ``ttl_seconds`` that a job may have."""

ANSWER_WITHIN_SECONDS = 10.0
"""How long the manager waits for the answer to a webhook of an async job."""


class SecretInvalid(ValueError):
    """The webhook secret is not one. The message does not show it."""


def key_of(secret: str) -> bytes:
    """Returns the bytes of a secret such as ``whsec_MfKQ…``; raises SecretInvalid."""
    try:
        key = base64.b64decode(secret.strip().removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise SecretInvalid(
            "the webhook secret: expected whsec_ and base64, as `sjm secrets create` prints it"
        )
    return key


@dataclass(frozen=True)
class Waits:
    """How long to wait, in seconds. Everything follows from the ``ttl_seconds`` that the receiver is told."""

    ttl_seconds: int = SHORTEST_TTL_SECONDS
    answer_within_seconds: float = ANSWER_WITHIN_SECONDS

    @property
    def heartbeat_seconds(self) -> int:
        """The ``heartbeat_interval_seconds`` of a job that sets none."""
        return max(1, self.ttl_seconds // 3)

    @property
    def longest_seconds(self) -> float:
        """How long a job may take that keeps sending heartbeats."""
        return 4.0 * self.ttl_seconds

    @property
    def busy_seconds(self) -> float:
        """How long a receiver may say that it is busy."""
        return 3.0 * self.ttl_seconds

    @property
    def gone_seconds(self) -> float:
        """How long the manager is out of reach."""
        return 0.3 * self.ttl_seconds

    @property
    def hold_seconds(self) -> float:
        """How long a callback stays unanswered, to see whether the webhook is answered meanwhile."""
        return 0.4 * self.ttl_seconds

    def quiet_seconds(self, took: float | None) -> float:
        """How long to look for callbacks that must not come, if the job takes ``took`` seconds.

        A job that runs longer has to send a heartbeat meanwhile. None if nobody knows how long it takes.
        """
        longest = 1.5 * self.heartbeat_seconds
        return longest if took is None else min(longest, 0.1 * self.ttl_seconds + 2 * took)


@dataclass(frozen=True)
class Settings:
    """The receiver and the job that it is called for.

    ``long_payload`` is a payload with which the job works longer than the heartbeat interval. ``secret`` is
    ``whsec_…``; without it no webhook is signed. ``callback_host`` is the name of this machine for a receiver
    on another one: without it the callbacks are taken on 127.0.0.1 only. Port 0 is any free one.
    """

    url: str
    service: str = "rehearsal"
    job: str = "job"
    payload: str = ""
    long_payload: str | None = None
    secret: str | None = field(default=None, repr=False)
    is_async: bool = True
    exclusive: bool = False
    waits: Waits = field(default_factory=Waits)
    callback_host: str | None = None
    callback_port: int = 0

    @property
    def keys(self) -> list[bytes]:
        """The keys that sign webhooks: the secret's, or none."""
        return [key_of(self.secret)] if self.secret else []
