"""What fires when the clocks of a time zone change: a table, with the dates of the IANA database.

Each row: a schedule, a time zone, the moment from which its times are listed, and the first of these times.
If they are all, the last entry is ``END``.
"""

import pytest

from jobmanager.core.clock import ms_of_iso
from jobmanager.schedules.expression import canonical, is_rate
from jobmanager.schedules.fire_times import next_fire_times, next_local_times
from jobmanager.schedules.timing import Timing
from jobmanager.schedules.zones import canonical_zone

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
CASABLANCA, APIA, KATHMANDU = "Africa/Casablanca", "Pacific/Apia", "Asia/Kathmandu"

END = "never again"

type Row = tuple[str, str, str, list[str]]

# On 2027-03-28 from 02:00 to 03:00.
BERLIN_FORWARD: list[Row] = [
    ("cron(59 1 * * ? *)", BERLIN, "2027-03-28T00:00Z", ["2027-03-28 01:59+01:00", "2027-03-29 01:59+02:00"]),
    (
        "cron(0 2 * * ? *)",
        BERLIN,
        "2027-03-28T00:00Z",
        ["2027-03-28 02:00 skipped", "2027-03-29 02:00+02:00"],
    ),
    (
        "cron(30 2 * * ? *)",
        BERLIN,
        "2027-03-28T00:00Z",
        ["2027-03-28 02:30 skipped", "2027-03-29 02:30+02:00"],
    ),
    (
        "cron(59 2 * * ? *)",
        BERLIN,
        "2027-03-28T00:00Z",
        ["2027-03-28 02:59 skipped", "2027-03-29 02:59+02:00"],
    ),
    ("cron(0 3 * * ? *)", BERLIN, "2027-03-28T00:00Z", ["2027-03-28 03:00+02:00", "2027-03-29 03:00+02:00"]),
    (
        "cron(0/30 * * * ? *)",
        BERLIN,
        "2027-03-28T00:30Z",
        [
            "2027-03-28 01:30+01:00",
            "2027-03-28 02:00 skipped",
            "2027-03-28 02:30 skipped",
            "2027-03-28 03:00+02:00",
            "2027-03-28 03:30+02:00",
        ],
    ),
    (
        "cron(30 2 ? 3 SUNL *)",
        BERLIN,
        "2027-03-01T00:00Z",
        ["2027-03-28 02:30 skipped", "2028-03-26 02:30 skipped"],
    ),
]
# On 2027-10-31 from 03:00 to 02:00.
BERLIN_BACK: list[Row] = [
    ("cron(59 1 * * ? *)", BERLIN, "2027-10-30T12:00Z", ["2027-10-31 01:59+02:00", "2027-11-01 01:59+01:00"]),
    ("cron(0 2 * * ? *)", BERLIN, "2027-10-30T12:00Z", ["2027-10-31 02:00+02:00", "2027-11-01 02:00+01:00"]),
    ("cron(30 2 * * ? *)", BERLIN, "2027-10-30T12:00Z", ["2027-10-31 02:30+02:00", "2027-11-01 02:30+01:00"]),
    ("cron(59 2 * * ? *)", BERLIN, "2027-10-30T12:00Z", ["2027-10-31 02:59+02:00", "2027-11-01 02:59+01:00"]),
    ("cron(0 3 * * ? *)", BERLIN, "2027-10-30T12:00Z", ["2027-10-31 03:00+01:00", "2027-11-01 03:00+01:00"]),
    # Between the two times, the first one is past.
    ("cron(30 2 * * ? *)", BERLIN, "2027-10-31T01:00Z", ["2027-11-01 02:30+01:00"]),
    (
        "cron(0/30 * * * ? *)",
        BERLIN,
        "2027-10-30T23:30Z",
        [
            "2027-10-31 01:30+02:00",
            "2027-10-31 02:00+02:00",
            "2027-10-31 02:30+02:00",
            "2027-10-31 03:00+01:00",
            "2027-10-31 03:30+01:00",
        ],
    ),
]
# On 2027-03-14 from 02:00 to 03:00, and on 2027-11-07 from 02:00 to 01:00.
AMERICA: list[Row] = [
    (
        "cron(59 1 * * ? *)",
        NEW_YORK,
        "2027-03-13T12:00Z",
        ["2027-03-14 01:59-05:00", "2027-03-15 01:59-04:00"],
    ),
    (
        "cron(0 2 * * ? *)",
        NEW_YORK,
        "2027-03-13T12:00Z",
        ["2027-03-14 02:00 skipped", "2027-03-15 02:00-04:00"],
    ),
    (
        "cron(59 2 * * ? *)",
        NEW_YORK,
        "2027-03-13T12:00Z",
        ["2027-03-14 02:59 skipped", "2027-03-15 02:59-04:00"],
    ),
    (
        "cron(0 3 * * ? *)",
        NEW_YORK,
        "2027-03-13T12:00Z",
        ["2027-03-14 03:00-04:00", "2027-03-15 03:00-04:00"],
    ),
    (
        "cron(59 0 * * ? *)",
        NEW_YORK,
        "2027-11-06T12:00Z",
        ["2027-11-07 00:59-04:00", "2027-11-08 00:59-05:00"],
    ),
    (
        "cron(0 1 * * ? *)",
        NEW_YORK,
        "2027-11-06T12:00Z",
        ["2027-11-07 01:00-04:00", "2027-11-08 01:00-05:00"],
    ),
    (
        "cron(59 1 * * ? *)",
        NEW_YORK,
        "2027-11-06T12:00Z",
        ["2027-11-07 01:59-04:00", "2027-11-08 01:59-05:00"],
    ),
    (
        "cron(0 2 * * ? *)",
        NEW_YORK,
        "2027-11-06T12:00Z",
        ["2027-11-07 02:00-05:00", "2027-11-08 02:00-05:00"],
    ),
    (
        "cron(0 9 ? * MON-FRI *)",
        NEW_YORK,
        "2027-03-12T00:00Z",
        ["2027-03-12 09:00-05:00", "2027-03-15 09:00-04:00"],
    ),
    # AWS's example.
    (
        "cron(30 2 * * ? *)",
        "America/Los_Angeles",
        "2027-03-13T12:00Z",
        ["2027-03-14 02:30 skipped", "2027-03-15 02:30-07:00"],
    ),
    # Until 2011 the clocks changed a minute after midnight, so that an overlap reached into the day before.
    (
        "cron(30 23 * * ? *)",
        "America/St_Johns",
        "2010-11-06T12:00Z",
        ["2010-11-06 23:30-02:30", "2010-11-07 23:30-03:30"],
    ),
    (
        "cron(0 0 * * ? *)",
        "America/St_Johns",
        "2010-11-06T12:00Z",
        ["2010-11-07 00:00-02:30", "2010-11-08 00:00-03:30"],
    ),
    (
        "cron(30 0 * * ? *)",
        "America/St_Johns",
        "2010-03-13T12:00Z",
        ["2010-03-14 00:30 skipped", "2010-03-15 00:30-02:30"],
    ),
    # The last hour of a day is a gap, and comes twice.
    (
        "cron(0 23 * * ? *)",
        "America/Nuuk",
        "2027-03-27T12:00Z",
        ["2027-03-27 23:00 skipped", "2027-03-28 23:00-01:00"],
    ),
    (
        "cron(0 0 * * ? *)",
        "America/Nuuk",
        "2027-03-27T12:00Z",
        ["2027-03-28 00:00-01:00", "2027-03-29 00:00-01:00"],
    ),
    (
        "cron(30 23 * * ? *)",
        "America/Nuuk",
        "2027-10-30T12:00Z",
        ["2027-10-30 23:30-01:00", "2027-10-31 23:30-02:00"],
    ),
]
# On 2027-10-03 from 02:00 to 02:30, and on 2027-04-04 from 02:00 to 01:30.
HALF_AN_HOUR: list[Row] = [
    (
        "cron(59 1 * * ? *)",
        LORD_HOWE,
        "2027-10-02T00:00Z",
        ["2027-10-03 01:59+10:30", "2027-10-04 01:59+11:00"],
    ),
    (
        "cron(0 2 * * ? *)",
        LORD_HOWE,
        "2027-10-02T00:00Z",
        ["2027-10-03 02:00 skipped", "2027-10-04 02:00+11:00"],
    ),
    (
        "cron(29 2 * * ? *)",
        LORD_HOWE,
        "2027-10-02T00:00Z",
        ["2027-10-03 02:29 skipped", "2027-10-04 02:29+11:00"],
    ),
    (
        "cron(30 2 * * ? *)",
        LORD_HOWE,
        "2027-10-02T00:00Z",
        ["2027-10-03 02:30+11:00", "2027-10-04 02:30+11:00"],
    ),
    (
        "cron(29 1 * * ? *)",
        LORD_HOWE,
        "2027-04-03T00:00Z",
        ["2027-04-04 01:29+11:00", "2027-04-05 01:29+10:30"],
    ),
    (
        "cron(30 1 * * ? *)",
        LORD_HOWE,
        "2027-04-03T00:00Z",
        ["2027-04-04 01:30+11:00", "2027-04-05 01:30+10:30"],
    ),
    (
        "cron(59 1 * * ? *)",
        LORD_HOWE,
        "2027-04-03T00:00Z",
        ["2027-04-04 01:59+11:00", "2027-04-05 01:59+10:30"],
    ),
    (
        "cron(0 2 * * ? *)",
        LORD_HOWE,
        "2027-04-03T00:00Z",
        ["2027-04-04 02:00+10:30", "2027-04-05 02:00+10:30"],
    ),
    # 45 minutes past an hour.
    (
        "cron(45 2 * * ? *)",
        "Pacific/Chatham",
        "2027-09-25T00:00Z",
        ["2027-09-26 02:45 skipped", "2027-09-27 02:45+13:45"],
    ),
    (
        "cron(44 3 * * ? *)",
        "Pacific/Chatham",
        "2027-04-03T00:00Z",
        ["2027-04-04 03:44+13:45", "2027-04-05 03:44+12:45"],
    ),
    (
        "cron(45 3 * * ? *)",
        "Pacific/Chatham",
        "2027-04-03T00:00Z",
        ["2027-04-04 03:45+12:45", "2027-04-05 03:45+12:45"],
    ),
]
ODD_OFFSETS: list[Row] = [
    (
        "cron(0 2 * * ? *)",
        KATHMANDU,
        "2027-03-27T12:00Z",
        ["2027-03-28 02:00+05:45", "2027-03-29 02:00+05:45"],
    ),
    # With the new year 1986, the offset became +05:45: a gap of a quarter of an hour after midnight.
    (
        "cron(14 0 * * ? *)",
        KATHMANDU,
        "1985-12-30T12:00Z",
        ["1985-12-31 00:14+05:30", "1986-01-01 00:14 skipped"],
    ),
    (
        "cron(15 0 * * ? *)",
        KATHMANDU,
        "1985-12-30T12:00Z",
        ["1985-12-31 00:15+05:30", "1986-01-01 00:15+05:45"],
    ),
    ("cron(0 0 * * ? *)", "Pacific/Kiritimati", "2027-01-01T00:00Z", ["2027-01-02 00:00+14:00"]),
    ("cron(0 0 * * ? *)", "Etc/GMT+12", "2027-01-01T00:00Z", ["2027-01-01 00:00-12:00"]),
    (
        "cron(0 12 * * ? *)",
        "Africa/Monrovia",
        "1972-01-06T00:00Z",
        ["1972-01-06 12:00-00:44:30", "1972-01-07 12:00+00:00"],
    ),
    # Winter time is the change here, and summer time the rule.
    (
        "cron(30 1 * * ? *)",
        "Europe/Dublin",
        "2027-03-27T12:00Z",
        ["2027-03-28 01:30 skipped", "2027-03-29 01:30+01:00"],
    ),
    # Two hours at once.
    (
        "cron(30 1 * * ? *)",
        "Antarctica/Troll",
        "2027-03-27T12:00Z",
        ["2027-03-28 01:30 skipped", "2027-03-29 01:30+02:00"],
    ),
    (
        "cron(30 2 * * ? *)",
        "Antarctica/Troll",
        "2027-10-30T12:00Z",
        ["2027-10-31 02:30+02:00", "2027-11-01 02:30+00:00"],
    ),
]
# Samoa moved to the other side of the date line and had no 30 December 2011.
A_DAY_THAT_WAS_SKIPPED: list[Row] = [
    (
        "cron(0 12 * * ? *)",
        APIA,
        "2011-12-29T12:00Z",
        ["2011-12-29 12:00-10:00", "2011-12-30 12:00 skipped", "2011-12-31 12:00+14:00"],
    ),
    (
        "cron(59 23 * * ? *)",
        APIA,
        "2011-12-29T12:00Z",
        ["2011-12-29 23:59-10:00", "2011-12-30 23:59 skipped", "2011-12-31 23:59+14:00"],
    ),
    ("cron(0 0 30 * ? *)", APIA, "2011-12-01T00:00Z", ["2011-12-30 00:00 skipped", "2012-01-30 00:00+14:00"]),
    ("cron(0 0 L * ? *)", APIA, "2011-12-01T00:00Z", ["2011-12-31 00:00+14:00", "2012-01-31 00:00+14:00"]),
    (
        "cron(0 8 ? * FRI *)",
        APIA,
        "2011-12-24T00:00Z",
        ["2011-12-30 08:00 skipped", "2012-01-06 08:00+14:00"],
    ),
    (
        "cron(0 12 21 8 ? *)",
        "Pacific/Kwajalein",
        "1993-08-01T00:00Z",
        ["1993-08-21 12:00 skipped", "1994-08-21 12:00+12:00"],
    ),
]
# In Ramadan the clocks went back: on 2025-02-23 from 03:00 to 02:00, and forward again on 2025-04-06.
AFRICA: list[Row] = [
    (
        "cron(59 1 * * ? *)",
        CASABLANCA,
        "2025-02-22T12:00Z",
        ["2025-02-23 01:59+01:00", "2025-02-24 01:59+00:00"],
    ),
    (
        "cron(30 2 * * ? *)",
        CASABLANCA,
        "2025-02-22T12:00Z",
        ["2025-02-23 02:30+01:00", "2025-02-24 02:30+00:00"],
    ),
    (
        "cron(0 3 * * ? *)",
        CASABLANCA,
        "2025-02-22T12:00Z",
        ["2025-02-23 03:00+00:00", "2025-02-24 03:00+00:00"],
    ),
    (
        "cron(30 2 * * ? *)",
        CASABLANCA,
        "2025-04-05T12:00Z",
        ["2025-04-06 02:30 skipped", "2025-04-07 02:30+01:00"],
    ),
    (
        "cron(0 3 * * ? *)",
        CASABLANCA,
        "2025-04-05T12:00Z",
        ["2025-04-06 03:00+01:00", "2025-04-07 03:00+01:00"],
    ),
    # The gap begins at midnight, and the overlap ends there.
    (
        "cron(0 0 * * ? *)",
        "Africa/Cairo",
        "2027-04-29T12:00Z",
        ["2027-04-30 00:00 skipped", "2027-05-01 00:00+03:00"],
    ),
    (
        "cron(30 23 * * ? *)",
        "Africa/Cairo",
        "2027-10-28T12:00Z",
        ["2027-10-28 23:30+03:00", "2027-10-29 23:30+02:00"],
    ),
    (
        "cron(0 0 * * ? *)",
        "Africa/Cairo",
        "2027-10-28T12:00Z",
        ["2027-10-29 00:00+02:00", "2027-10-30 00:00+02:00"],
    ),
]
LEAP_DAYS: list[Row] = [
    (
        "cron(30 2 29 2 ? *)",
        BERLIN,
        "2027-01-01T00:00Z",
        ["2028-02-29 02:30+01:00", "2032-02-29 02:30+01:00"],
    ),
    (
        "cron(0 0 L 2 ? *)",
        NEW_YORK,
        "2027-01-01T00:00Z",
        ["2027-02-28 00:00-05:00", "2028-02-29 00:00-05:00"],
    ),
    (
        "cron(0 0 LW 2 ? *)",
        LORD_HOWE,
        "2028-01-01T00:00Z",
        ["2028-02-29 00:00+11:00", "2029-02-28 00:00+11:00"],
    ),
    (
        "cron(0 0 29 2 ? 2096/4)",
        KATHMANDU,
        "2027-01-01T00:00Z",
        ["2096-02-29 00:00+05:45", "2104-02-29 00:00+05:45"],
    ),
]
ONCE: list[Row] = [
    ("at(2026-12-24T18:00:00)", BERLIN, "2026-01-01T00:00Z", ["2026-12-24 18:00+01:00", END]),
    ("at(2026-12-24T18:00:00)", BERLIN, "2026-12-24T17:00Z", ["2026-12-24 18:00+01:00", END]),
    ("at(2026-12-24T18:00:00)", BERLIN, "2026-12-24T17:01Z", [END]),
    ("at(2026-12-24T18:00:30)", "UTC", "2026-01-01T00:00Z", ["2026-12-24 18:00:30+00:00", END]),
    ("at(2027-03-28T01:59:59)", BERLIN, "2026-01-01T00:00Z", ["2027-03-28 01:59:59+01:00", END]),
    ("at(2027-03-28T02:00:00)", BERLIN, "2026-01-01T00:00Z", ["2027-03-28 02:00 skipped", END]),
    ("at(2027-03-28T02:59:59)", BERLIN, "2026-01-01T00:00Z", ["2027-03-28 02:59:59 skipped", END]),
    ("at(2027-03-28T03:00:00)", BERLIN, "2026-01-01T00:00Z", ["2027-03-28 03:00+02:00", END]),
    ("at(2027-10-31T02:00:00)", BERLIN, "2026-01-01T00:00Z", ["2027-10-31 02:00+02:00", END]),
    ("at(2027-10-31T02:59:59)", BERLIN, "2026-01-01T00:00Z", ["2027-10-31 02:59:59+02:00", END]),
    ("at(2027-10-31T03:00:00)", BERLIN, "2026-01-01T00:00Z", ["2027-10-31 03:00+01:00", END]),
    ("at(2011-12-30T12:00:00)", APIA, "2010-01-01T00:00Z", ["2011-12-30 12:00 skipped", END]),
]
# A rate counts absolute time from the moment in the row.
RATES: list[Row] = [
    ("rate(1 day)", BERLIN, "2027-03-27T01:30Z", ["2027-03-28 03:30+02:00", "2027-03-29 03:30+02:00"]),
    ("rate(1 day)", BERLIN, "2027-10-30T00:30Z", ["2027-10-31 02:30+02:00", "2027-11-01 01:30+01:00"]),
    ("rate(30 minutes)", BERLIN, "2027-03-28T00:00Z", ["2027-03-28 01:30+01:00", "2027-03-28 03:00+02:00"]),
    ("rate(30 minutes)", BERLIN, "2027-10-31T00:00Z", ["2027-10-31 02:30+02:00", "2027-10-31 02:00+01:00"]),
    ("rate(12 hours)", LORD_HOWE, "2027-10-02T09:00Z", ["2027-10-03 08:00+11:00", "2027-10-03 20:00+11:00"]),
    ("rate(12 hours)", APIA, "2011-12-29T22:00Z", ["2011-12-31 00:00+14:00", "2011-12-31 12:00+14:00"]),
]
FIRST_AND_LAST_YEARS: list[Row] = [
    ("cron(0 0 1 1 ? 1970)", "Pacific/Auckland", "1969-01-01T00:00Z", ["1970-01-01 00:00+12:00", END]),
    (
        "cron(0 9 1 7 ? 2100/33)",
        LORD_HOWE,
        "2101-01-01T00:00Z",
        ["2133-07-01 09:00+10:30", "2166-07-01 09:00+10:30", "2199-07-01 09:00+10:30", END],
    ),
    ("cron(30 2 31 3 ? 2199)", BERLIN, "2027-01-01T00:00Z", ["2199-03-31 02:30 skipped", END]),
    ("cron(30 2 ? 10 SUNL 2199)", BERLIN, "2027-01-01T00:00Z", ["2199-10-27 02:30+02:00", END]),
    (
        "cron(59 23 31 12 ? *)",
        NEW_YORK,
        "2198-06-01T00:00Z",
        ["2198-12-31 23:59-05:00", "2199-12-31 23:59-05:00", END],
    ),
    ("at(2199-12-31T23:59:59)", NEW_YORK, "2027-01-01T00:00Z", ["2199-12-31 23:59:59-05:00", END]),
    ("rate(30 days)", BERLIN, "2199-11-15T00:00Z", ["2199-12-15 01:00+01:00", END]),
]
ROWS = [
    *BERLIN_FORWARD,
    *BERLIN_BACK,
    *AMERICA,
    *HALF_AN_HOUR,
    *ODD_OFFSETS,
    *A_DAY_THAT_WAS_SKIPPED,
    *AFRICA,
    *LEAP_DAYS,
    *ONCE,
    *RATES,
    *FIRST_AND_LAST_YEARS,
]


def timing_of(schedule: str, zone: str) -> Timing:
    return Timing(canonical(schedule, allows_at=True), canonical_zone(zone))


def before(schedule: str, moment: str) -> int:
    """The moment after which the times of a row are asked for. A rate does not fire at its first one."""
    ms = ms_of_iso(moment.replace("Z", ":00Z"))
    return ms if is_rate(schedule) else ms - 1


@pytest.mark.parametrize(("schedule", "zone", "first", "expected"), ROWS)
def test_a_schedule_goes_by_the_clock_of_its_time_zone(
    schedule: str, zone: str, first: str, expected: list[str]
) -> None:
    timing, after_ms = timing_of(schedule, zone), before(schedule, first)
    found = next_local_times(timing, after_ms, len(expected))
    shown = [
        f"{local[:10]} {local[11:16]}{local[16:19].removesuffix(':00')}"
        + (" skipped" if each.is_skipped else local[19:])
        for each in found
        for local in [each.iso()]
    ]
    assert [*shown, END][: len(expected)] == expected


@pytest.mark.parametrize(("schedule", "zone", "first", "expected"), ROWS)
def test_what_fires_is_what_is_listed_and_not_skipped(
    schedule: str, zone: str, first: str, expected: list[str]
) -> None:
    timing, after_ms = timing_of(schedule, zone), before(schedule, first)
    listed = next_local_times(timing, after_ms, 9)
    fires = [each.utc_ms for each in listed if not each.is_skipped]
    assert next_fire_times(timing, after_ms, 9)[: len(fires)] == fires
    assert fires == sorted(set(fires))
