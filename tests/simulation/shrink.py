"""Shrinks a broken run to the fewest actions and deviations that still break it in the same way."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tests.simulation.plan import Action
from tests.simulation.run import Handlers, Outcome, Schedule, by_schedule

_CHANGES = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-\d{8}T\d{6}Z)?(-\w+)?|job-\d+|\d+|\(.*\)")
_NEEDED = ("schedule", "invocation_type", "invocation_target", "test_invocation")


def kind_of(sentence: str) -> str:
    """A broken invariant without the names and numbers of its run."""
    return _CHANGES.sub("…", sentence)


class Shrinker:
    """Tries smaller schedules, as long as it may."""

    def __init__(self, outcome: Outcome, handlers: Handlers, max_runs: int) -> None:
        self._kinds = {kind_of(sentence) for sentence in outcome.broken}
        self._handlers = handlers
        self._left = max_runs
        self.best = outcome.schedule
        self._ticks = outcome.ticks

    def shrink(self) -> Schedule:
        """The smallest schedule that was found."""
        while True:
            before = self.best
            self._fewest(
                list(self.best.deviations.items()),
                lambda kept: replace(self.best, deviations=dict(kept)),
            )
            self._fewest(list(self.best.actions), lambda kept: replace(self.best, actions=tuple(kept)))
            ticks = [tick for tick in self._ticks if tick not in self.best.silenced]
            self._fewest(
                ticks, lambda kept: replace(self.best, silenced=frozenset(self._ticks) - frozenset(kept))
            )
            self._simplest_bodies()
            if self.best == before or self._left <= 0:
                return self.best

    def _fewest[T](self, parts: list[T], schedule: Callable[[Sequence[T]], Schedule]) -> None:
        """Delta debugging: leaves out ever smaller pieces."""
        size = len(parts)
        while size >= 1 and self._left > 0:
            at = 0
            while at < len(parts):
                kept = parts[:at] + parts[at + size :]
                if len(kept) < len(parts) and self._is_broken(schedule(kept)):
                    parts = kept
                else:
                    at += size
            size //= 2

    def _simplest_bodies(self) -> None:
        for number, action in enumerate(self.best.actions):
            for name in [name for name in action.body if name not in _NEEDED]:
                body = {key: value for key, value in self.best.actions[number].body.items() if key != name}
                self._is_broken(self._with(number, replace(action, body=body)))

    def _with(self, number: int, action: Action) -> Schedule:
        actions = list(self.best.actions)
        actions[number] = action
        return replace(self.best, actions=tuple(actions))

    def _is_broken(self, schedule: Schedule) -> bool:
        """Whether it breaks in the same way; then it is the best."""
        if self._left <= 0:
            return False
        self._left -= 1
        found: Any = by_schedule(schedule, self._handlers).broken
        if not self._kinds & {kind_of(sentence) for sentence in found}:
            return False
        self.best = schedule
        return True


def shrunk(outcome: Outcome, handlers: Handlers, max_runs: int = 600) -> Outcome:
    """The shrunk run, with its story."""
    schedule = Shrinker(outcome, handlers, max_runs).shrink()
    return by_schedule(schedule, handlers, is_told=True)
