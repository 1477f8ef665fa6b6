"""The clock by which limits are counted that are meant for a machine that keeps up."""

from collections.abc import Iterator

import pytest

from local import slowness
from local.slowness import SECONDS_BETWEEN_LOOKS, PatientClock


class Machine:
    """A machine, and what its clock says."""

    def __init__(self) -> None:
        self.slowness, self.seconds = 1.0, 100.0
        self.clock = PatientClock(lambda: self.slowness, lambda: self.seconds)

    def goes_on(self, seconds: float) -> float:
        """Goes on for some seconds, with looks in between; answers how far its patient clock went."""
        began = self.clock.now()
        for _ in range(round(seconds / SECONDS_BETWEEN_LOOKS)):
            self.seconds += SECONDS_BETWEEN_LOOKS
            self.clock.look()
        return self.clock.now() - began


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_on_a_quiet_machine_it_goes_as_any_clock(machine: Machine) -> None:
    assert machine.goes_on(60) == pytest.approx(60)


def test_on_a_machine_that_is_four_times_slower_it_goes_four_times_slower(machine: Machine) -> None:
    machine.slowness = 4
    machine.goes_on(60)
    assert machine.goes_on(60) == pytest.approx(15)
    machine.slowness = 1
    machine.goes_on(60)
    assert machine.goes_on(60) == pytest.approx(60)


def test_while_the_process_does_not_run_it_stands(machine: Machine) -> None:
    began = machine.clock.now()
    machine.seconds += 600
    assert machine.clock.now() - began <= 2 * SECONDS_BETWEEN_LOOKS


def test_it_never_goes_back(machine: Machine) -> None:
    def readings() -> Iterator[float]:
        for machine.slowness in (1, 9, 2, 1, 30, 1):
            for _ in range(7):
                machine.seconds += SECONDS_BETWEEN_LOOKS / 3
                yield machine.clock.now()
            machine.clock.look()
            yield machine.clock.now()

    found = list(readings())
    assert found == sorted(found)


def test_nothing_is_slower_than_it_is_alone() -> None:
    assert slowness.measured() >= 1
