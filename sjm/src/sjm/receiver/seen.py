"""Remembers which attempts were taken, so that a duplicate is not worked on."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable


@runtime_checkable
class Seen(Protocol):
    """Remembers attempts. Several threads call it at once.

    An attempt is claimed before its notification is answered. If the process dies after that, the claim
    stays: the attempt is not worked on again, and ends as ``timeout``. A job's ``retry`` makes a new attempt.
    """

    def claim(self, execution_id: str, attempt: int) -> bool:
        """Whether the caller is the first to claim this attempt. An exception is answered with 503."""

    def forget(self, execution_id: str, attempt: int) -> None:
        """Gives up a claim whose work did not begin, so that the repeated notification can claim it."""


class MemorySeen:
    """Remembers attempts in this process: for a service of one process.

    It holds at most ``max_attempts``, each for ``keep_seconds``, by default a day. The oldest go first.
    """

    def __init__(
        self,
        keep_seconds: float = 86_400,
        max_attempts: int = 100_000,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if keep_seconds <= 0 or max_attempts < 1:
            raise ValueError("keep_seconds, max_attempts: expected more than 0")
        self._keep_seconds = keep_seconds
        self._max_attempts = max_attempts
        self._now = now
        self._lock = threading.Lock()
        self._expires: dict[tuple[str, int], float] = {}  # in order of their time

    def claim(self, execution_id: str, attempt: int) -> bool:
        """Whether the caller is the first to claim this attempt."""
        key, now = (execution_id, attempt), self._now()
        with self._lock:
            while self._expires and next(iter(self._expires.values())) <= now:
                del self._expires[next(iter(self._expires))]
            if key in self._expires:
                return False
            if len(self._expires) >= self._max_attempts:
                del self._expires[next(iter(self._expires))]
            self._expires[key] = now + self._keep_seconds
            return True

    def forget(self, execution_id: str, attempt: int) -> None:
        """Gives up a claim."""
        with self._lock:
            self._expires.pop((execution_id, attempt), None)
