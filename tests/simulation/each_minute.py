"""The clock of what fires on whole minutes."""

from __future__ import annotations

from abc import ABC, abstractmethod

from tests.simulation.scheduler import Scheduler

_MINUTE_MS = 60_000


class EachMinute(ABC):
    """Looks on each whole minute for what is due."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.stops_at_ms = 0

    def start_clock(self, stops_at_ms: int) -> None:
        """Fires what is due, until a time."""
        self.stops_at_ms = stops_at_ms
        self._scheduler.after(_MINUTE_MS - self._scheduler.now_ms % _MINUTE_MS, self._minute)

    def _minute(self) -> None:
        if self._scheduler.now_ms > self.stops_at_ms:
            return
        self._fire_due(self._scheduler.now_ms)
        self._scheduler.after(_MINUTE_MS, self._minute)

    @abstractmethod
    def _fire_due(self, at_ms: int) -> None:
        """Fires what is due at a minute."""
