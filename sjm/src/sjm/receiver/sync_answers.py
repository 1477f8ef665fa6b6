"""Remembers the answers of sync jobs, so that a repeated webhook gets the answer of the first."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from sjm.receiver.answer import Answer

_KEEP_SECONDS: Final = 900.0


class SyncAnswer:
    """The answer that a sync job has, or will have."""

    __slots__ = ("_answer", "_is_there", "made_at")

    def __init__(self, made_at: float) -> None:
        self.made_at = made_at
        self._is_there = threading.Event()
        self._answer: Answer | None = None

    def give(self, answer: Answer) -> None:
        """Lets all who wait have this answer."""
        self._answer = answer
        self._is_there.set()

    def wait(self, seconds: float) -> Answer | None:
        """The answer, if it comes within that many seconds."""
        self._is_there.wait(seconds)
        return self._answer


class SyncAnswers:
    """The answers of this process, each for a quarter of an hour: the manager waits a minute at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, int], SyncAnswer] = {}

    def of(self, key: tuple[str, int]) -> tuple[SyncAnswer, bool]:
        """The answer of an attempt, and whether the caller is the one who has to give it."""
        with self._lock:
            now = self._clock()
            while self._answers and now - next(iter(self._answers.values())).made_at > _KEEP_SECONDS:
                del self._answers[next(iter(self._answers))]
            if key in self._answers:
                return self._answers[key], False
            ours = self._answers[key] = SyncAnswer(now)
            return ours, True

    def forget(self, key: tuple[str, int]) -> None:
        """Lets the next webhook of this attempt begin anew."""
        with self._lock:
            self._answers.pop(key, None)
