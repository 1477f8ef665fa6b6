"""Runs the simulation: `make simulate ARGS="--runs 100000 --jobs 2"`, or one run by its seed."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator

from tests.simulation import campaign
from tests.simulation.mutants import MUTANTS


def main() -> int:
    """Returns 1 if a run is broken, or if a mutant is not found."""
    arguments = _arguments()
    if arguments.mutants:
        return _mutants(arguments)
    return _runs(arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="how many runs (default: 1000)")
    parser.add_argument("--seconds", type=float, help="stop after so many seconds")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the first run (default: 1)")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes (default: 1)")
    parser.add_argument("--story", action="store_true", help="tell the story of the run, broken or not")
    parser.add_argument("--whole", action="store_true", help="do not shrink what is broken")
    parser.add_argument("--stories", type=int, default=3, help="how many broken runs to tell (default: 3)")
    parser.add_argument("--mutants", action="store_true", help="put faults into the code, and find them")
    parser.add_argument("--mutant", default="", help="only mutants whose names have this text")
    return parser.parse_args()


def _runs(arguments: argparse.Namespace) -> int:
    if arguments.story:
        print(*campaign.story_of(arguments.seed), sep="\n")
        return 0
    began = time.monotonic()
    total, broken = campaign.Tally(), Counter[str]()
    for tally in _tallies(arguments):
        total = total.plus(tally)
    seconds = time.monotonic() - began
    for seed, sentences in sorted(total.broken.items()):
        broken[campaign.kinds_of(sentences)] += 1
        if broken[campaign.kinds_of(sentences)] == 1 and len(broken) <= arguments.stories:
            print(*campaign.story_of_broken(seed, is_whole=arguments.whole), sep="\n")
    print(f"{total} in {seconds:.0f} s, {total.runs / seconds * 60:.0f} a minute")
    for kind, number in broken.most_common():
        print(f"{number} times: {kind}")
    if total.broken:
        print("broken seeds:", *sorted(total.broken)[:50])
    return 1 if total.broken else 0


def _tallies(arguments: argparse.Namespace) -> Iterator[campaign.Tally]:
    seeds = range(arguments.seed, arguments.seed + arguments.runs)
    if arguments.jobs == 1:
        yield campaign.runs(seeds, arguments.seconds)
        return
    shares = [(seeds[number :: arguments.jobs], arguments.seconds) for number in range(arguments.jobs)]
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        yield from pool.starmap(campaign.runs, shares)


def _mutants(arguments: argparse.Namespace) -> int:
    missed = 0
    for mutant in MUTANTS:
        if arguments.mutant in mutant.name:
            found = campaign.find(mutant, range(arguments.seed, arguments.seed + campaign.MUTANT_RUNS))
            missed += found is None
            print(f"{mutant.name}: {found or 'NOT FOUND'}", flush=True)
            if found and arguments.story:
                print(*campaign.story_of_broken(found.seed, mutant), sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
