"""The names of time zones, and where their rules come from."""

import importlib.resources
import struct
import subprocess
import sys
import zoneinfo
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from jobmanager.schedules.zones import InvalidTimeZone, canonical_zone, zone_of

ROOT = Path(__file__).parents[5]
NAMES = importlib.resources.files("tzdata").joinpath("zones").read_text().split()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("AMERICA/ARGENTINA/BUENOS_AIRES", "America/Argentina/Buenos_Aires"),
        ("America/port-au-prince", "America/Port-au-Prince"),
        ("UTC", "UTC"),
        ("utc", "UTC"),
        # Names of zones with the same rules stay what they are.
        ("Etc/UTC", "Etc/UTC"),
        ("us/eastern", "US/Eastern"),
        ("Asia/Katmandu", "Asia/Katmandu"),
        ("etc/gmt+5", "Etc/GMT+5"),
    ],
)
def test_a_name_gets_the_spelling_of_the_database(name: str, expected: str) -> None:
    assert canonical_zone(name) == expected
    assert canonical_zone(canonical_zone(name)) == expected


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("new york", "America/New_York"),
        ("America/New York", "America/New_York"),
        ("Etc/GMT 5", "Etc/GMT+5"),
        ("Europe/Calcutta", "Asia/Calcutta"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_names(name: str, nearest: str) -> None:
    with pytest.raises(InvalidTimeZone, match="expected a name of the IANA time zone database") as refusal:
        canonical_zone(name)
    message = str(refusal.value)
    assert message.startswith(f"{name!r} is not a time zone")
    assert nearest in message.rpartition("the nearest: ")[2].split(", ")


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "Mars/Phobos",
        "CEST",
        "+01:00",
        "Factory",
        "zones",
        "tzdata.zi",
        "../zones",
        "/etc/localtime",
        "Europe",
        "Europe/",
        "Europe/Berlin ",
        "Europe/Berlin\0",
        "Europe/__init__.py",
        "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}" * 40,
        "x" * 100_000,
    ],
)
def test_no_other_text_is_a_time_zone(name: str) -> None:
    with pytest.raises(InvalidTimeZone) as refusal:
        canonical_zone(name)
    assert len(str(refusal.value)) < 400
    with pytest.raises(InvalidTimeZone):
        zone_of(name)


def test_only_a_canonical_name_has_rules() -> None:
    with pytest.raises(InvalidTimeZone, match="canonical"):
        zone_of("europe/berlin")
    assert zone_of("Europe/Berlin").utcoffset(datetime(2027, 7, 1)) is not None


def test_each_zone_of_the_database_is_known_and_short_enough_for_eventbridge_scheduler() -> None:
    for name in set(NAMES) - {"Factory"}:
        assert canonical_zone(name.swapcase()) == name
        assert zone_of(name).utcoffset(datetime(2027, 1, 1)) is not None
        assert len(name) <= 50


def test_the_rules_come_from_the_package_even_if_the_system_has_others(tmp_path: Path) -> None:
    (tmp_path / "Europe").mkdir()
    kathmandu = importlib.resources.files("tzdata").joinpath("zoneinfo/Asia/Kathmandu").read_bytes()
    (tmp_path / "Europe" / "Berlin").write_bytes(kathmandu)
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([tmp_path])
    zone_of.cache_clear()
    try:
        assert str(zoneinfo.ZoneInfo.no_cache("Europe/Berlin").utcoffset(datetime(2027, 1, 1))) == "5:45:00"
        assert str(zone_of("Europe/Berlin").utcoffset(datetime(2027, 1, 1))) == "1:00:00"
    finally:
        zoneinfo.reset_tzpath(before)


USES_ONLY_UTC = """
import sys
from jobmanager.schedules.preview import preview_schedule
from jobmanager.schedules.listing import list_schedules
from jobmanager.schedules.ticks import fired_at
from jobmanager.schedules.missed_ticks import publish_missed_ticks
preview_schedule({"schedule": "cron(0 2 * * ? *)"}, 0)
preview_schedule({"schedule": "rate(1 day)", "time_zone": "utc"}, 0)
print(sorted({"zoneinfo", "tzdata", "difflib"} & set(sys.modules)))
preview_schedule({"schedule": "cron(0 2 * * ? *)", "time_zone": "Europe/Berlin"}, 0)
print(sorted({"zoneinfo", "tzdata", "difflib"} & set(sys.modules)))
"""


def test_a_function_that_works_in_utc_loads_no_rules_of_zones() -> None:
    done = subprocess.run(
        [sys.executable, "-c", USES_ONLY_UTC],
        env={"PYTHONPATH": f"{ROOT / 'functions' / '_shared'}", "AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["[]", "['tzdata', 'zoneinfo']"], done.stderr


def changes_of(name: str) -> list[tuple[int, int, int]]:
    """The changes of a zone's offset since 1970, by its file (RFC 9636): when, and the offsets around it."""
    data = importlib.resources.files("tzdata").joinpath(f"zoneinfo/{name}").read_bytes()

    def counts(at: int) -> tuple[int, ...]:
        assert data[at : at + 4] == b"TZif"
        return struct.unpack(">6l", data[at + 20 : at + 44])

    ut, std, leap, times, types, chars = counts(0)
    second = 44 + times * 5 + types * 6 + chars + leap * 8 + std + ut
    ut, std, leap, times, types, chars = counts(second)
    at = second + 44
    moments = struct.unpack(f">{times}q", data[at : at + times * 8])
    indexes = data[at + times * 8 : at + times * 9]
    offsets = [
        struct.unpack(">lbb", data[p : p + 6])[0]
        for p in range(at + times * 9, at + times * 9 + types * 6, 6)
    ]
    found = zip(moments[1:], pairwise(offsets[index] for index in indexes), strict=True)
    return [(moment, before, after) for moment, (before, after) in found if moment >= 0 and before != after]


def test_no_zone_changes_its_clock_twice_within_two_days() -> None:
    """So a day at whose ends the clock has the same offset has it all day long."""
    changed = {name: changes_of(name) for name in NAMES}
    apart = [later[0] - earlier[0] for changes in changed.values() for earlier, later in pairwise(changes)]
    assert changed["Europe/Berlin"][0] == (323_830_800, 3600, 7200)  # 1980-04-06T01:00:00Z
    assert len(apart) > 10_000
    assert min(apart) > 2 * 86_400
