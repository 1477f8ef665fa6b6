"""Measures when this machine was too busy, and by how much. Facts of that time may have been noted late.

A function notes the time at which it began, and does its work afterwards. On a quiet machine both happen at
the same time. On a busy one, seconds may lie between them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

from tests.integration.polling import round_trip_seconds
from tests.life.journal import now_ms

SECONDS_BETWEEN_LOOKS = 0.2
LATE_MS = 100
AROUND_MS = 10_000


class Stalls:
    """Measures, as a context manager, how long the machine takes for work that takes no time."""

    def __init__(self, answer_seconds: Callable[[], float] = round_trip_seconds) -> None:
        self._answer_seconds = answer_seconds
        self._late: list[tuple[int, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="stalls", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def note(self, at_ms: int, late_ms: int) -> None:
        """Records that the machine was late by so much at that time."""
        if late_ms >= LATE_MS:
            self._late.append((at_ms, late_ms))

    def lateness_ms(self, from_ms: int, until_ms: int) -> int:
        """The most by which a fact of that time may have been noted late."""
        return sum(late for at, late in self._late if from_ms - AROUND_MS <= at <= until_ms + AROUND_MS)

    def summary(self) -> str:
        """Describes the lateness in a few words."""
        worst = max((late for _, late in self._late), default=0)
        return f"the machine was late {len(self._late)} times, by at most {worst} ms"

    def _look(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            slept = self._over.wait(SECONDS_BETWEEN_LOOKS)
            late = 0.0 if slept else time.monotonic() - began - SECONDS_BETWEEN_LOOKS
            self.note(now_ms(), round(1000 * (late + self._answer_seconds())))
