"""The ticks that triggers fire: they come late, twice, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any

from jobmanager.core.clock import iso
from tests.simulation.calls import Calls
from tests.simulation.choices import Choices
from tests.simulation.scheduler import Scheduler
from tests.simulation.story import Story

_STARTS = "start_due_executions"
_NEVER, _TWICE = "does not come", "comes twice"
_LATE_MS = {"comes 2 s late": 2000, "comes 40 s late": 40_000, "comes 6 min late": 360_000}
_ODD = (_NEVER, _TWICE, *_LATE_MS)


class Ticks:
    """Delivers what triggers fire to functions."""

    def __init__(
        self,
        scheduler: Scheduler,
        choices: Choices,
        calls: Calls,
        story: Story,
        fire: Callable[[str, Any, str], None],
    ) -> None:
        self._scheduler = scheduler
        self._choices = choices
        self._calls = calls
        self._story = story
        self._fire = fire
        self.silenced: Collection[str] = ()
        """The ticks that do not come because a broken run does not need them."""
        self.fired: list[str] = []
        self.due: list[tuple[str, int]] = []
        """The ticks for which a trigger fired, whatever became of them: their schedules and times."""
        self.came: list[tuple[str, int, int]] = []
        """The ticks that were delivered to a function: their schedules and times, and when they came."""

    def tick(self, kind: str, schedule: str, at_ms: int, deliveries: Iterable[tuple[str, Any]]) -> None:
        """Fires for a schedule. ``kind``: of the trigger. ``deliveries``: functions, each with its event."""
        label = f"{schedule} {iso(at_ms)}"
        self.due.append((schedule, at_ms))
        if label in self.silenced:
            return
        self.fired.append(label)
        odd = self._choices.deviates(f"tick {label}", _ODD, self._calls.odds.other)
        self._story.tell(f"{kind} {schedule}", f"fires for {iso(at_ms)}{f', which {odd}' if odd else ''}")
        for function, event in () if odd == _NEVER else deliveries:
            if function != _STARTS:
                continue  # somebody has changed what it invokes
            for number in range(2 if odd == _TWICE else 1):
                own = f"{label}{' second' if number else ''}"
                wait_ms = self._choices.between(f"tick {own} takes", 10, 900) + _LATE_MS.get(odd, 0)
                self.came.append((schedule, at_ms, self._scheduler.now_ms + wait_ms))
                self._scheduler.after(wait_ms, partial(self._fire, function, event, own))
