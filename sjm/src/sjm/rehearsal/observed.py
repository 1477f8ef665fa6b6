"""What happened in a scene, as the manager would see it. Times are seconds of a monotonic clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Delivery:
    """A webhook and its answer. ``status`` is None if there was none, or if it was not looked at.

    ``trouble`` says why nobody answered. ``body_error`` says what is wrong with the body of a sync job's
    answer. ``retry_after_seconds`` is what the answer asks for, or 0.
    """

    at: float
    seconds: float
    status: int | None
    trouble: str = ""
    body_error: str = ""
    retry_after_seconds: float = 0.0

    @property
    def is_taken(self) -> bool:
        """Whether the answer was 2xx."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_busy(self) -> bool:
        """Whether the answer lets the manager send the notification again later."""
        return self.status in (429, 503)


@dataclass(frozen=True)
class Callback:
    """A callback and the status of its answer, or None if it got none.

    ``url`` is the number of the callback_url that it came to: each notification of an execution has its own.
    ``refusal`` says why the answer was 400 or 415. ``answered_at`` is when the answer was sent.
    """

    at: float
    url: int
    attempt: int
    body: Mapping[str, Any]
    status: int | None
    refusal: str = ""
    answered_at: float = 0.0

    @property
    def is_result(self) -> bool:
        """Whether it is a success or a failure, and no heartbeat."""
        return self.body.get("status") in ("success", "fail")

    @property
    def is_accepted(self) -> bool:
        """Whether the answer was 200."""
        return self.status == 200


@dataclass(frozen=True)
class Seen:
    """A scene from its first webhook until it was no longer looked at."""

    deliveries: Sequence[Delivery]
    callbacks: Sequence[Callback] = field(default=())
    until: float = 0.0
    is_async: bool = True

    @property
    def results(self) -> list[Callback]:
        """The callbacks that are results."""
        return [each for each in self.callbacks if each.is_result]

    def result_of(self, attempt: int) -> Callback | None:
        """The first result of an attempt that was accepted."""
        return next((each for each in self.results if each.is_accepted and each.attempt == attempt), None)
