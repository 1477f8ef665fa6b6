"""Trying again, with jitter."""

import random
import time
from collections.abc import Callable, Iterator
from itertools import count

type Pause = Callable[[float], None]


def tries(
    most: int | None,
    first_seconds: float = 0.02,
    longest_seconds: float = 2.0,
    pause: Pause | None = None,
) -> Iterator[int]:
    """Yields 0, 1, 2, … up to ``most`` numbers, and pauses before each number but the first.

    The first pause lasts up to ``first_seconds``, each further one up to twice as long, and none longer than
    ``longest_seconds``. A pause is at least half as long as it may be; the rest is chance, so that callers
    who met once do not meet again. With ``most`` None the numbers never end: leave the loop yourself.
    """
    sleep = pause or time.sleep
    up_to = first_seconds
    for number in count() if most is None else range(most):
        if number:
            sleep(random.uniform(0.5, 1.0) * up_to)
            up_to = min(2 * up_to, longest_seconds)
        yield number
