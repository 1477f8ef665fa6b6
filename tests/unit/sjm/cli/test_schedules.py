"""``sjm schedules preview``, with the answers of the manager's own preview."""

from collections.abc import Iterator

import pytest

from sjm.cli.exits import ExitCode
from tests.unit.sjm.cli.conftest import Sjm
from tests.unit.sjm.small_stage import SmallStage
from tests.unit.sjm.stand_in import serving


@pytest.fixture
def server() -> Iterator[SmallStage]:
    with serving(SmallStage()) as stage:
        yield stage


def test_times_in_a_time_zone_are_those_of_its_clock_with_gaps_marked(sjm: Sjm) -> None:
    done = sjm(
        *("schedules", "preview", "cron(0/30 2-3 28 3 ? *)", "--time-zone", "america/nuuk", "--count", "2"),
        *("--from", "2027-03-28T00:00:00Z"),
    )
    assert done.out.splitlines() == [
        "2027-03-28 02:00:00-01:00 (2027-03-28 03:00:00 UTC)",
        "2027-03-28 02:30:00-01:00 (2027-03-28 03:30:00 UTC)",
    ]
    skipped = sjm("schedules", "preview", "at(2027-03-28T02:30:00)", "--time-zone", "Europe/Berlin")
    assert skipped.out.splitlines() == ["2027-03-28 02:30:00 is skipped: the clocks go forward over it"]
    assert skipped.err.splitlines() == ["at(2027-03-28T02:30:00) never fires."]


def test_bounds_without_an_offset_are_in_your_time_zone(sjm: Sjm, server: SmallStage) -> None:
    done = sjm(
        *("schedules", "preview", "rate(1 day)", "--start-at", "2027-03-27T12:00"),
        *("--end-at", "2027-03-29", "--from", "2027-03-27"),
    )
    assert dict(server.received[0].query) == {
        "schedule": "rate(1 day)",
        "from": "2027-03-26T23:00:00+00:00",
        "count": "10",
        "start_at": "2027-03-27T11:00:00+00:00",
        "end_at": "2027-03-28T22:00:00+00:00",
    }
    assert done.out.splitlines() == [
        "2027-03-27 12:00:00 CET (2027-03-27 11:00:00 UTC)",
        "2027-03-28 13:00:00 CEST (2027-03-28 11:00:00 UTC)",
    ]
    assert done.err.splitlines() == ["These times are counted from 2027-03-27 12:00:00 CET."]


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (["--time-zone", "Europe/Berln"], ExitCode.REFUSED, "Europe/Berlin"),
        (["--start-at", "2027-01-02", "--end-at", "2027-01-01"], ExitCode.REFUSED, "end_at"),
        (["--from", "soon"], ExitCode.USAGE, "--from"),
    ],
)
def test_a_mistake_is_named(sjm: Sjm, options: list[str], code: ExitCode, expected: str) -> None:
    done = sjm("schedules", "preview", "cron(0 2 * * ? *)", *options)
    assert done.code == code
    assert expected in done.err
