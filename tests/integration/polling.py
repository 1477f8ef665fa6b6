"""Waits for something to become true, with a deadline that a slow machine moves."""

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.request import urlopen

from local import slowness
from local.slowness import PatientClock

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 0.5
QUIET_ROUND_TRIP_SECONDS = 0.02
MOST_SECONDS_FOR_A_ROUND_TRIP = 10


def round_trip_seconds() -> float:
    """How long the stage takes to answer a request that it need not work for."""
    url = f"{os.environ['AWS_ENDPOINT_URL']}/_localstack/health"
    began = time.monotonic()
    with suppress(OSError), urlopen(url, timeout=MOST_SECONDS_FOR_A_ROUND_TRIP):
        pass
    return time.monotonic() - began


def slowness_of_the_stage() -> float:
    """How much slower than on a quiet machine this process runs, or the stage answers, whichever is worse."""
    return max(slowness.measured(), round_trip_seconds() / QUIET_ROUND_TRIP_SECONDS)


CLOCK = PatientClock(slowness_of_the_stage)
MOST_PATIENCE = 4.0


def patient(seconds: float) -> int:
    """Whole seconds that are as long for this machine as these are for a quiet one.

    For time limits in which a test has something to do: on a slow machine it takes longer.
    """
    CLOCK.look_if_due()
    return math.ceil(seconds * min(CLOCK.slowness, MOST_PATIENCE))


def poll[Found](until: Callable[[], Found | None], deadline_seconds: float, what: str) -> Found:
    """Looks until `until` answers something true, and answers that.

    At the deadline it fails and says what did not come. The deadline counts on a quiet machine.
    """
    began, deadline, pause = time.monotonic(), CLOCK.now() + deadline_seconds, FIRST_PAUSE
    while True:
        found = until()
        if found:
            return found
        if CLOCK.now() > deadline:
            waited = f"within {deadline_seconds} s ({time.monotonic() - began:.0f} s on this slow machine)"
            raise AssertionError(f"no {what} {waited}; the last look gave {found!r}")
        time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_PAUSE)
        CLOCK.look_if_due()
