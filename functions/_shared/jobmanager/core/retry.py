"""Retries with exponential backoff and jitter."""

import random
import time
from collections.abc import Callable, Iterator
from itertools import count

type Pause = Callable[[float], None]


def tries(
    max_tries: int | None,
    first_seconds: float = 0.02,
    longest_seconds: float = 2.0,
    pause: Pause | None = None,
    only_if: Callable[[], bool] = lambda: True,
) -> Iterator[int]:
    """Yields the numbers 0, 1, 2, … and sleeps before each number except 0.

    ``max_tries`` limits how many numbers it yields. With None it never stops, so break out of the loop.

    The longest possible pause starts at ``first_seconds`` and doubles until it reaches ``longest_seconds``.
    Each pause is random, between half of the longest possible one and all of it, so that callers who collided
    once do not collide again. ``pause`` replaces ``time.sleep``. ``only_if`` tells before each pause whether
    the last try failed; if it did not, the next number is a next step, and follows at once.
    """
    sleep = pause or time.sleep
    longest = first_seconds
    for number in count() if max_tries is None else range(max_tries):
        if number and only_if():
            sleep(random.uniform(0.5, 1.0) * longest)
            longest = min(2 * longest, longest_seconds)
        yield number
