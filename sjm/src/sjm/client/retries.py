"""How often, and after which wait, a request is repeated."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime


@dataclass(frozen=True)
class Retries:
    """Exponential backoff with full jitter, so that callers that failed together do not return together.

    ``max_attempts`` includes the first; 1 retries nothing. Before attempt *n* + 1 the client waits for a
    random time of up to ``base_seconds`` times 2 to the power of *n* - 1, at most ``max_wait_seconds``. If
    the answer has ``Retry-After``, the client also waits that long, or raises at once if it is longer than
    ``max_wait_seconds``.
    """

    max_attempts: int = 4
    base_seconds: float = 0.5
    max_wait_seconds: float = 20
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random
    now: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        """Refuses values with which nothing would be sent."""
        if self.max_attempts < 1:
            raise ValueError("max_attempts: expected at least 1")
        if self.base_seconds < 0 or self.max_wait_seconds < 0:
            raise ValueError("base_seconds, max_wait_seconds: expected at least 0")

    def wait_after(self, attempt: int, retry_after: str | None) -> float | None:
        """The seconds to wait after this attempt, counted from 1; None if there is to be no other."""
        if attempt >= self.max_attempts:
            return None
        asked = self._seconds(retry_after)
        if asked > self.max_wait_seconds:
            return None
        backoff = min(self.base_seconds * 2.0 ** min(attempt - 1, 32), self.max_wait_seconds)
        return asked + self.random() * backoff

    def _seconds(self, retry_after: str | None) -> float:
        """The seconds of a Retry-After header, a number or a date; 0 if there is none, or no valid one."""
        value = (retry_after or "").strip()
        if value.isascii() and value.isdecimal():
            return float(value)
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - self.now())
        except (ValueError, TypeError, OverflowError):
            return 0.0
