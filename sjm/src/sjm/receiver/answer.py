"""What the service answers to a webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Outcome = Literal["accepted", "duplicate", "tested", "finished", "busy", "refused"]


class Answer:
    """An HTTP answer: ``status``, ``headers`` with names in lower case, and ``body`` in bytes.

    ``outcome`` says what became of the notification: ``accepted`` (its work begins), ``duplicate``,
    ``tested``, ``finished`` (a sync job's result is in the answer), ``busy`` (the manager repeats it), or
    ``refused``.
    """

    __slots__ = ("body", "headers", "outcome", "status")

    def __init__(
        self,
        status: int,
        outcome: Outcome,
        document: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        import json

        self.status = status
        self.outcome = outcome
        self.headers = dict(headers or {})
        self.body = json.dumps({"outcome": outcome} if document is None else document).encode()
        self.headers["content-type"] = "application/json"
        self.headers["content-length"] = str(len(self.body))

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.outcome}>"


def refusal(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer that says why the notification is not taken."""
    return Answer(status, "refused", {"error": reason}, headers)


def busy(reason: str, retry_after_seconds: int) -> Answer:
    """An answer after which the manager sends the notification again."""
    return Answer(503, "busy", {"error": reason}, {"retry-after": str(retry_after_seconds)})


def tested() -> Answer:
    """The answer to a test notification."""
    return Answer(200, "tested")


def duplicate() -> Answer:
    """The answer to a notification that came before. Any other than 2xx would let the manager repeat it."""
    return Answer(202, "duplicate")
