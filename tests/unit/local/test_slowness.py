"""The patient clock, which goes slower on a slow machine, for limits that assume a fast one."""

from collections.abc import Iterator

import pytest

from local import slowness
from local.slowness import SECONDS_BETWEEN_LOOKS, PatientClock


class Machine:
    """A machine with a slowness and a clock, both set by the test."""

    def __init__(self) -> None:
        self.slowness, self.seconds = 1.0, 100.0
        self.clock = PatientClock(lambda: self.slowness, lambda: self.seconds)

    def run(self, seconds: float) -> float:
        """Runs for some seconds and looks regularly. Returns by how much the patient clock advanced."""
        began = self.clock.now()
        for _ in range(round(seconds / SECONDS_BETWEEN_LOOKS)):
            self.seconds += SECONDS_BETWEEN_LOOKS
            self.clock.look()
        return self.clock.now() - began


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_on_a_quiet_machine_the_clock_goes_like_any_other(machine: Machine) -> None:
    assert machine.run(60) == pytest.approx(60)


def test_on_a_machine_four_times_slower_the_clock_goes_four_times_slower(machine: Machine) -> None:
    machine.slowness = 4
    machine.run(60)
    assert machine.run(60) == pytest.approx(15)
    machine.slowness = 1
    machine.run(60)
    assert machine.run(60) == pytest.approx(60)


def test_the_clock_stops_while_the_process_does_not_run(machine: Machine) -> None:
    began = machine.clock.now()
    machine.seconds += 600
    assert machine.clock.now() - began <= 2 * SECONDS_BETWEEN_LOOKS


def test_a_wait_that_only_asks_for_the_time_ends(machine: Machine) -> None:
    deadline = machine.clock.now() + 15
    asked = 0
    while machine.clock.now() < deadline:
        machine.seconds += SECONDS_BETWEEN_LOOKS
        asked += 1
        assert asked <= 40


def test_the_clock_never_goes_back(machine: Machine) -> None:
    def readings() -> Iterator[float]:
        for machine.slowness in (1, 9, 2, 1, 30, 1):
            for _ in range(7):
                machine.seconds += SECONDS_BETWEEN_LOOKS / 3
                yield machine.clock.now()
            machine.clock.look()
            yield machine.clock.now()

    found = list(readings())
    assert found == sorted(found)


def test_the_measured_slowness_is_at_least_one() -> None:
    assert slowness.measured() >= 1
