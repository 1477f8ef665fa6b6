"""Many runs: how they end, which are broken, and in which run a mutant is found."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from tests.simulation.mutants import Mutant
from tests.simulation.run import by_schedule, by_seed
from tests.simulation.seams import Seams
from tests.simulation.shrink import kind_of, shrunk
from tests.simulation.telling import told

MUTANT_RUNS = 5000


@dataclass(frozen=True)
class Tally:
    """What came of many runs."""

    runs: int = 0
    steps: int = 0
    deviations: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    broken: Mapping[int, Sequence[str]] = field(default_factory=dict)

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.runs + other.runs,
            self.steps + other.steps,
            self.deviations + other.deviations,
            Counter(self.statuses) + Counter(other.statuses),
            {**self.broken, **other.broken},
        )

    def __str__(self) -> str:
        statuses = ", ".join(f"{number} {status}" for status, number in sorted(self.statuses.items()))
        return (
            f"{self.runs} runs, {len(self.broken)} broken, {self.deviations} faults, delays and oddities;"
            f" executions: {statuses}"
        )


def runs(seeds: Iterable[int], seconds: float | None = None, fewest: int = 0) -> Tally:
    """Runs the seeds one after the other, as long as there is time, and at least the fewest."""
    total = Tally()
    statuses: Counter[str] = Counter()
    broken: dict[int, Sequence[str]] = {}
    with Seams() as seams:
        gc.freeze()  # or the collector looks at all modules again and again, for a sixth of the time
        until = None if seconds is None else time.monotonic() + seconds
        for seed in seeds:
            if until is not None and total.runs >= fewest and time.monotonic() > until:
                break
            outcome = by_seed(seed, seams.handlers)
            statuses.update(outcome.statuses)
            if outcome.broken:
                broken[seed] = outcome.broken
            total = Tally(
                total.runs + 1,
                total.steps + outcome.steps,
                total.deviations + len(outcome.schedule.deviations),
            )
    return Tally(total.runs, total.steps, total.deviations, statuses, broken)


def kinds_of(sentences: Iterable[str]) -> str:
    """What is broken, without the names of the run."""
    return "; ".join(sorted({kind_of(sentence) for sentence in sentences}))


def story_of(seed: int) -> list[str]:
    """The whole story of a run."""
    with Seams() as seams:
        schedule = by_seed(seed, seams.handlers).schedule
        return list(told(by_schedule(schedule, seams.handlers, is_told=True)))


def story_of_broken(seed: int, mutant: Mutant | None = None, is_whole: bool = False) -> Iterator[str]:
    """The story of a broken run, shrunk."""
    with Seams() as seams, mutant.applied() if mutant else nullcontext():
        outcome = by_seed(seed, seams.handlers)
        if is_whole:
            yield from told(by_schedule(outcome.schedule, seams.handlers, is_told=True))
        else:
            yield from told(shrunk(outcome, seams.handlers))


@dataclass(frozen=True)
class Found:
    """Where a mutant was found."""

    seed: int
    runs: int
    sentence: str

    def __str__(self) -> str:
        return f"found in run {self.runs}: {self.sentence}"


def find(mutant: Mutant, seeds: Iterable[int]) -> Found | None:
    """Runs the seeds until one is broken that is not without the mutant."""
    with Seams() as seams:
        for number, seed in enumerate(seeds, 1):
            with mutant.applied():
                broken = by_seed(seed, seams.handlers).broken
            if broken and not by_seed(seed, seams.handlers).broken:
                return Found(seed, number, broken[0])
    return None
