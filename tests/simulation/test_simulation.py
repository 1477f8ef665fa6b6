import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.exhaustive import cases
from tests.simulation import campaign, world
from tests.simulation.mutants import MUTANTS
from tests.simulation.run import by_schedule, by_seed
from tests.simulation.seams import Seams
from tests.simulation.shrink import shrunk
from tests.simulation.step_functions import Machine
from tests.simulation.telling import told

SECONDS = 8
FEWEST_RUNS = 12
"""The first six already have executions that end in each way."""

FIRST_SEED = 5_000_000
RUNS_OF_THE_VERSION_BEFORE = cases(20, 200)
BEFORE = Path(__file__).parent.parent / "before" / "statemachine.asl.json"
QUICKLY_FOUND = (
    "is acknowledged and not written",
    "is not taken out of the count",
    "starts an execution of its own",
    "takes the record for its own",
)
HASH_SEEDS = ("1", "2")
PRINT_RUNS = """
import json
from tests.simulation.run import by_schedule, by_seed
from tests.simulation.seams import Seams
with Seams() as seams:
    for seed in range(40, 46):
        schedule = by_seed(seed, seams.handlers).schedule
        print(json.dumps([dict(schedule.deviations), by_schedule(schedule, seams.handlers, True).story]))
"""


@pytest.mark.slow
def test_no_simulated_run_breaks_an_invariant(record_property: Callable[[str, object], None]) -> None:
    """The seeds are the same each time, so a failure is due to a change. `make simulate` takes others."""
    tally = campaign.runs(range(FIRST_SEED, FIRST_SEED + 10**6), SECONDS, FEWEST_RUNS)
    record_property("figures", f"simulation: {tally}")
    for seed in list(tally.broken)[:1]:
        story = "\n".join(campaign.story_of_broken(seed))
        pytest.fail(f'{story}\nagain: make simulate ARGS="--seed {seed} --runs 1"', pytrace=False)
    assert set(tally.statuses) >= {"success", "fail", "timeout", "skipped"}


@pytest.mark.samples
def test_executions_of_the_machine_of_the_version_before_end_as_they_should(
    seams: Seams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They keep their definition, and go on with the functions of this version."""
    machine_of = world._machine

    def machine(name: str, **kind: bool) -> Machine:
        is_of_runs = name == "statemachine.asl.json"
        return Machine.of(BEFORE.read_text()) if is_of_runs else machine_of(name, **kind)

    monkeypatch.setattr(world, "_machine", machine)
    outcomes = [by_seed(seed, seams.handlers) for seed in range(RUNS_OF_THE_VERSION_BEFORE)]
    assert [outcome.broken for outcome in outcomes if outcome.broken] == []
    assert {status for outcome in outcomes for status in outcome.statuses} >= {"success", "fail", "timeout"}


def test_the_same_seed_makes_the_same_run_in_every_process() -> None:
    one, other = (
        subprocess.run(
            [sys.executable, "-c", PRINT_RUNS],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in HASH_SEEDS
    )
    assert len(one.splitlines()) == 6
    assert any(json.loads(line)[0] for line in one.splitlines())
    assert one == other


def test_a_run_by_its_schedule_is_the_run_by_its_seed(seams: Seams) -> None:
    for seed in range(8):
        by_its_seed = by_seed(seed, seams.handlers)
        again = by_schedule(by_its_seed.schedule, seams.handlers)
        assert (again.steps, again.statuses) == (by_its_seed.steps, by_its_seed.statuses)
        assert again.schedule == by_its_seed.schedule


@pytest.mark.samples(2)
@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_a_fault_that_is_put_into_the_code_is_found(name: str) -> None:
    (mutant,) = (mutant for mutant in MUTANTS if name in mutant.name)
    assert campaign.find(mutant, range(1, 200))


def test_every_mutant_fits_the_code() -> None:
    for mutant in MUTANTS:
        healthy = mutant.function.__code__
        with mutant.applied():
            assert mutant.function.__code__ is not healthy
        assert mutant.function.__code__ is healthy


def test_a_broken_run_is_shrunk_to_what_breaks_it_and_told(seams: Seams) -> None:
    (mutant,) = (mutant for mutant in MUTANTS if "the second outcome" in mutant.name)
    found = campaign.find(mutant, range(1, 500))
    assert found
    with mutant.applied():
        outcome = by_seed(found.seed, seams.handlers)
        small = shrunk(outcome, seams.handlers, max_runs=120)
    assert small.broken
    assert len(small.schedule.deviations) < len(outcome.schedule.deviations)
    assert len(small.schedule.deviations) <= 3
    assert len(small.schedule.actions) <= 2
    story = list(told(small))
    assert story[0] == f"seed {found.seed}: what is done"
    assert any("put job-" in line for line in story)
    assert story[-1].strip() in "\n".join(story[story.index("what is broken") :])
