"""When Scheduler fires: zones, changes of clocks, start and end.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

from datetime import datetime
from itertools import islice
from typing import Any

import pytest

from local.aws_behaviour.scheduler.fire_times import fire_times


def seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def times(expression: str, zone: str, since: str, count: int, **dates: str) -> list[str]:
    schedule: dict[str, Any] = {"ScheduleExpression": expression, "ScheduleExpressionTimezone": zone}
    schedule |= {name: seconds(time) for name, time in dates.items()}
    return [f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in islice(fire_times(schedule, seconds(since)), count)]


@pytest.mark.parametrize(
    ("expression", "zone", "since", "expected"),
    [
        # AWS's example: 2:30 in Los Angeles. In spring it is skipped, in fall it fires before the shift.
        (
            "cron(30 2 * * ? *)",
            "America/Los_Angeles",
            "2027-03-12T12:00:00Z",
            ["2027-03-13T10:30:00Z", "2027-03-15T09:30:00Z"],
        ),
        (
            "cron(30 2 * * ? *)",
            "America/Los_Angeles",
            "2027-11-06T12:00:00Z",
            ["2027-11-07T10:30:00Z", "2027-11-08T10:30:00Z"],
        ),
        (
            "cron(30 1 * * ? *)",
            "America/Los_Angeles",
            "2027-11-06T12:00:00Z",
            ["2027-11-07T08:30:00Z", "2027-11-08T09:30:00Z"],
        ),
        (
            "cron(30 2 * * ? *)",
            "Europe/Berlin",
            "2027-03-26T12:00:00Z",
            ["2027-03-27T01:30:00Z", "2027-03-29T00:30:00Z"],
        ),
        (
            "cron(30 2 * * ? *)",
            "Europe/Berlin",
            "2027-10-30T12:00:00Z",
            ["2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z"],
        ),
        # Both ends of a gap: 2:00 does not exist, 3:00 does.
        ("cron(0 2,3 * * ? *)", "Europe/Berlin", "2027-03-27T12:00:00Z", ["2027-03-28T01:00:00Z"]),
        # Both ends of an overlap: 2:00 comes twice, 3:00 once.
        (
            "cron(0 2,3 * * ? *)",
            "Europe/Berlin",
            "2027-10-30T12:00:00Z",
            ["2027-10-31T00:00:00Z", "2027-10-31T02:00:00Z"],
        ),
        # A schedule that is created in the repeated hour does not fire in it.
        ("cron(30 2 * * ? *)", "Europe/Berlin", "2027-10-31T01:10:00Z", ["2027-11-01T01:30:00Z"]),
        # A change by half an hour: 2:00 to 2:30 in October, 2:00 back to 1:30 in April.
        ("cron(15 2 * * ? *)", "Australia/Lord_Howe", "2027-10-02T00:00:00Z", ["2027-10-03T15:15:00Z"]),
        (
            "cron(45 1 * * ? *)",
            "Australia/Lord_Howe",
            "2027-04-03T00:00:00Z",
            ["2027-04-03T14:45:00Z", "2027-04-04T15:15:00Z"],
        ),
        # Offsets with minutes.
        ("cron(0 0 * * ? *)", "Asia/Kathmandu", "2027-01-01T00:00:00Z", ["2027-01-01T18:15:00Z"]),
        ("cron(0 9 L * ? *)", "Pacific/Apia", "2027-01-01T00:00:00Z", ["2027-01-30T20:00:00Z"]),
        # A day of the week is that of the zone.
        ("cron(0 1 ? * MON *)", "Pacific/Auckland", "2027-01-01T00:00:00Z", ["2027-01-03T12:00:00Z"]),
        ("at(2022-11-20T13:00:00)", "America/Los_Angeles", "2022-11-01T00:00:00Z", ["2022-11-20T21:00:00Z"]),
        ("at(2027-10-31T02:30:00)", "Europe/Berlin", "2027-10-01T00:00:00Z", ["2027-10-31T00:30:00Z"]),
    ],
)
def test_a_local_time_is_that_of_the_zone(
    expression: str, zone: str, since: str, expected: list[str]
) -> None:
    assert times(expression, zone, since, len(expected)) == expected


def test_a_one_time_schedule_in_the_gap_does_not_fire() -> None:
    assert times("at(2027-03-28T02:30:00)", "Europe/Berlin", "2027-01-01T00:00:00Z", 1) == []


def test_each_minute_of_a_repeated_hour_fires_once() -> None:
    found = times("cron(* * * * ? *)", "Europe/Berlin", "2027-10-30T23:59:30Z", 122)

    assert len(set(found)) == 122
    assert found[59:63] == [
        "2027-10-31T00:59:00Z",
        "2027-10-31T02:00:00Z",  # 2:59 is over once, and 3:00 is next
        "2027-10-31T02:01:00Z",
        "2027-10-31T02:02:00Z",
    ]


def test_a_rate_without_a_start_fires_at_once() -> None:
    assert times("rate(5 minutes)", "UTC", "2027-01-01T00:00:42.700+00:00", 3) == [
        "2027-01-01T00:00:42Z",
        "2027-01-01T00:05:42Z",
        "2027-01-01T00:10:42Z",
    ]


def test_the_first_time_of_a_rate_is_its_start() -> None:
    starts = {"StartDate": "2027-01-02T10:00:00Z"}

    assert times("rate(1 hour)", "UTC", "2027-01-01T00:00:00Z", 2, **starts) == [
        "2027-01-02T10:00:00Z",
        "2027-01-02T11:00:00Z",
    ]


def test_a_rate_that_started_before_it_was_created_keeps_its_times() -> None:
    starts = {"StartDate": "2027-01-01T00:00:00Z"}

    assert times("rate(3 minutes)", "UTC", "2027-01-01T00:04:00Z", 2, **starts) == [
        "2027-01-01T00:06:00Z",
        "2027-01-01T00:09:00Z",
    ]


def test_a_day_of_a_rate_has_24_hours() -> None:
    starts = {"StartDate": "2027-03-27T01:30:00Z"}

    assert times("rate(1 days)", "Europe/Berlin", "2027-03-01T00:00:00Z", 2, **starts) == [
        "2027-03-27T01:30:00Z",
        "2027-03-28T01:30:00Z",
    ]


def test_start_and_end_are_the_first_and_the_last_possible_times() -> None:
    dates = {"StartDate": "2027-01-02T10:00:00Z", "EndDate": "2027-01-02T10:02:00Z"}

    assert times("cron(* * * * ? *)", "Asia/Kathmandu", "2027-01-01T00:00:00Z", 9, **dates) == [
        "2027-01-02T10:00:00Z",
        "2027-01-02T10:01:00Z",
        "2027-01-02T10:02:00Z",
    ]


def test_a_one_time_schedule_ignores_start_and_end() -> None:
    dates = {"StartDate": "2028-01-01T00:00:00Z", "EndDate": "2027-01-01T00:00:00Z"}

    assert times("at(2027-06-01T00:00:00)", "UTC", "2027-01-01T00:00:00Z", 9, **dates) == [
        "2027-06-01T00:00:00Z"
    ]
