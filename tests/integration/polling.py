"""Waits for something to become true, with a deadline that a slow machine moves."""

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.request import urlopen

from local import slowness
from local.slowness import PatientClock

# Each look costs the stage a request and a function's invocation.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
PAUSE_PER_SECOND_WAITED = 0.1
QUIET_ROUND_TRIP_SECONDS = 0.02
MOST_SECONDS_FOR_A_ROUND_TRIP = 10


def round_trip_seconds() -> float:
    """How long the stage takes to answer its health check, which needs no work."""
    url = f"{os.environ['AWS_ENDPOINT_URL']}/_localstack/health"
    began = time.monotonic()
    with suppress(OSError), urlopen(url, timeout=MOST_SECONDS_FOR_A_ROUND_TRIP):
        pass
    return time.monotonic() - began


def slowness_of_the_stage() -> float:
    """How much slower than on a quiet machine this process runs or the stage answers; the larger of both."""
    return max(slowness.measured(), round_trip_seconds() / QUIET_ROUND_TRIP_SECONDS)


CLOCK = PatientClock(slowness_of_the_stage)
MOST_PATIENCE = 4.0


def patient(seconds: float) -> int:
    """Scales a number of seconds from a quiet machine to this one, and rounds up.

    Use it for limits within which a test must do something, because that takes longer on a slow machine.
    """
    CLOCK.look_if_due()
    return math.ceil(seconds * min(CLOCK.slowness, MOST_PATIENCE))


def poll[Found](until: Callable[[], Found | None], deadline_seconds: float, what: str) -> Found:
    """Calls `until` until it returns something true, and returns that.

    Fails at the deadline and says what did not happen. A slow machine extends the deadline.
    """
    began, deadline = time.monotonic(), CLOCK.now() + deadline_seconds
    while True:
        found = until()
        if found:
            return found
        if CLOCK.now() > deadline:
            waited = f"within {deadline_seconds} s ({time.monotonic() - began:.0f} s on this slow machine)"
            raise AssertionError(f"no {what} {waited}; the last attempt returned {found!r}")
        passed = time.monotonic() - began
        time.sleep(min(max(FIRST_PAUSE, PAUSE_PER_SECOND_WAITED * passed), LONGEST_PAUSE))
