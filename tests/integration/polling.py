"""Waiting for something to become so, with a deadline."""

import time
from collections.abc import Callable

SECONDS_BETWEEN_LOOKS = 0.1


def poll[Found](until: Callable[[], Found | None], deadline_seconds: float, what: str) -> Found:
    """Looks until `until` answers something true, and answers that; fails, saying what, at the deadline."""
    deadline = time.monotonic() + deadline_seconds
    while True:
        found = until()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} within {deadline_seconds} s; the last look gave {found!r}")
        time.sleep(SECONDS_BETWEEN_LOOKS)
