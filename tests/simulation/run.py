"""A run by its seed, or by a schedule: the actions, and the deviations, of which all else follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.simulation import seams
from tests.simulation.choices import Choices
from tests.simulation.plan import Action, actions_of
from tests.simulation.story import Story
from tests.simulation.world import Chances, World

type Handlers = Mapping[str, Callable[[Any, Any], Any]]


@dataclass(frozen=True)
class Schedule:
    """What makes a run: the seed decides what deviations cannot, such as how long a call usually takes.

    ``silenced``: the ticks that a broken run does not need.
    """

    seed: int
    actions: tuple[Action, ...]
    deviations: Mapping[str, str]
    silenced: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Outcome:
    """How a run ended: what is wrong, and how much happened."""

    schedule: Schedule
    broken: list[str]
    steps: int
    executions: int
    statuses: Mapping[str, int] = field(default_factory=dict)
    ticks: tuple[str, ...] = ()
    story: list[str] = field(default_factory=list)


def by_seed(seed: int, handlers: Handlers) -> Outcome:
    """Runs what a seed makes."""
    choices = Choices(seed)
    return _run(choices, tuple(actions_of(choices)), handlers, Story())


def by_schedule(schedule: Schedule, handlers: Handlers, is_told: bool = False) -> Outcome:
    """Runs a schedule, with its story if it is to be told."""
    choices = Choices(schedule.seed, schedule.deviations)
    return _run(choices, schedule.actions, handlers, Story(is_told), schedule.silenced)


def _run(
    choices: Choices,
    actions: tuple[Action, ...],
    handlers: Handlers,
    story: Story,
    silenced: frozenset[str] = frozenset(),
) -> Outcome:
    world = World(choices, Chances.of(choices), handlers, story)
    world.ticks.silenced = silenced
    with seams.run_in(world):
        world.run(actions)
        records = world.view.records()
    statuses: dict[str, int] = {}
    for record in records:
        statuses[record["status"]] = statuses.get(record["status"], 0) + 1
    schedule = Schedule(choices.seed, actions, dict(choices.deviations), silenced)
    ticks = tuple(dict.fromkeys(world.ticks.fired))
    return Outcome(schedule, world.broken, world.scheduler.steps, len(records), statuses, ticks, story.lines)
