"""Reads a notification from what arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sjm.receiver.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES: Final = 1024 * 1024
"""More than SNS carries, or the manager sends. A larger body is refused before it is read whole."""


class Notification:
    """A notification: ``fields`` as the manager sent them, also those that this version does not know."""

    __slots__ = ("fields", "trace_header")

    def __init__(self, fields: Mapping[str, Any], trace_header: str | None = None) -> None:
        self.fields = dict(fields)
        self.trace_header = trace_header
        _check(self.fields)

    @property
    def is_test(self) -> bool:
        """Whether the manager only tests the target."""
        return bool(self.fields.get("test"))

    @property
    def is_sync(self) -> bool:
        """Whether the answer to the webhook is the result."""
        return self.fields.get("async") is False

    @property
    def job_name(self) -> str:
        """The name of the job."""
        return str(self.fields["job_name"])

    @property
    def key(self) -> tuple[str, int]:
        """What tells attempts apart: ``execution_id`` and ``attempt``."""
        return str(self.fields["execution_id"]), int(self.fields.get("attempt", 1))

    @property
    def callback_url(self) -> str:
        """Where the callbacks go: a secret of the attempt. A sync job has none."""
        return str(self.fields.get("callback_url") or "")

    @property
    def ttl_seconds(self) -> float:
        """How long the service may be silent."""
        return _positive(self.fields.get("ttl_seconds")) or 300.0

    @property
    def heartbeat_interval_seconds(self) -> float:
        """Within which time the manager expects a heartbeat."""
        return _positive(self.fields.get("heartbeat_interval_seconds")) or max(1.0, self.ttl_seconds / 3)

    def __repr__(self) -> str:
        return f"<Notification of {self.job_name}>"  # without the callback URL


def parse(message: bytes | str | Mapping[str, Any], trace_header: str | None = None) -> Notification:
    """Reads a notification, also in the envelope in which SNS puts it; raises Refused with status 400.

    https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
    """
    fields = _object(message)
    if "job_name" not in fields and fields.get("Type") == "Notification" and "Message" in fields:
        fields = _object(fields["Message"])
    return Notification(fields, trace_header)


def _object(message: Any) -> Mapping[str, Any]:
    import json
    from collections.abc import Mapping

    if isinstance(message, bytes | bytearray | str):
        try:
            message = json.loads(message)
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"the notification is not JSON: {error}") from None
    if not isinstance(message, Mapping):
        raise Refused(400, f"the notification is not an object, but {type(message).__name__}")
    return message


def _check(fields: Mapping[str, Any]) -> None:
    """Raises Refused unless the fields are there that the receiver cannot do without."""
    wanted: dict[str, type] = {"job_name": str}
    if not fields.get("test"):
        wanted["execution_id"] = str
        if fields.get("async") is not False:
            wanted["callback_url"] = str
    for name, kind in wanted.items():
        if not isinstance(fields.get(name), kind) or not fields[name]:
            raise Refused(400, f"the notification has no {name}: is it one of the manager?")
    attempt = fields.get("attempt", 1)
    if isinstance(attempt, bool) or not isinstance(attempt, int):
        raise Refused(400, "the notification's attempt is not a whole number")


def _positive(value: object) -> float:
    return float(value) if isinstance(value, int | float) and value > 0 else 0.0
