"""Compares next_fire_times with AWS's documentation, and with an oracle that checks every minute."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.schedules.expression import canonical
from jobmanager.schedules.fire_times import Fired, fired_within, fires_between, next_fire_times
from jobmanager.schedules.timing import Timing
from tests.exhaustive import cases
from tests.unit.functions.jobmanager.schedules.cron_oracle import (
    MONTH_VALUES,
    days_of_month,
    days_of_week,
    fields,
    fires_at,
    moments,
    schedules,
)

MONDAY_NOON = "2026-11-23T12:00:00Z"
DAY_MS = 86_400_000


def fire_times(expression: str, count: int, after: str = MONDAY_NOON) -> list[str]:
    times = next_fire_times(Timing(canonical(expression)), ms_of_iso(after), count)
    return [iso(ms).removesuffix(":00Z") for ms in times]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # AWS's examples: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-cron-expressions.html
        ("cron(0 10 * * ? *)", ["2026-11-24T10:00", "2026-11-25T10:00"]),
        ("cron(15 12 * * ? *)", ["2026-11-23T12:15", "2026-11-24T12:15"]),
        ("cron(0 18 ? * MON-FRI *)", ["2026-11-23T18:00", "2026-11-24T18:00"]),
        ("cron(0 8 1 * ? *)", ["2026-12-01T08:00", "2027-01-01T08:00"]),
        ("cron(0/15 * * * ? *)", ["2026-11-23T12:15", "2026-11-23T12:30"]),
        ("cron(0/10 * ? * MON-FRI *)", ["2026-11-23T12:10", "2026-11-23T12:20"]),
        ("cron(0/5 8-17 ? * MON-FRI *)", ["2026-11-23T12:05", "2026-11-23T12:10"]),
        ("cron(0/30 20-2 ? * MON-FRI *)", ["2026-11-23T20:00", "2026-11-23T20:30"]),
        # AWS's wildcards: 11th, 21st, 31st minute; last day; last weekday; nearest weekday; second Tuesday.
        ("cron(1/10 13 * * ? *)", ["2026-11-23T13:01", "2026-11-23T13:11", "2026-11-23T13:21"]),
        ("cron(0 0 1 JAN,FEB,MAR ? *)", ["2027-01-01T00:00", "2027-02-01T00:00", "2027-03-01T00:00"]),
        (
            "cron(0 0 L * ? *)",
            ["2026-11-30T00:00", "2026-12-31T00:00", "2027-01-31T00:00", "2027-02-28T00:00"],
        ),
        ("cron(0 0 LW * ? *)", ["2026-11-30T00:00", "2026-12-31T00:00", "2027-01-29T00:00"]),
        (
            "cron(0 0 3W 1-5 ? *)",
            ["2027-01-04T00:00", "2027-02-03T00:00", "2027-03-03T00:00", "2027-04-02T00:00"],
        ),
        ("cron(0 0 1W MAY ? *)", ["2027-05-03T00:00"]),
        ("cron(0 0 31W * ? *)", ["2026-12-31T00:00", "2027-01-29T00:00", "2027-03-31T00:00"]),
        ("cron(0 0 ? * 3#2 *)", ["2026-12-08T00:00", "2027-01-12T00:00"]),
        ("cron(0 0 ? * FRI#5 *)", ["2027-01-29T00:00", "2027-04-30T00:00"]),
        ("cron(0 0 ? * L *)", ["2026-11-28T00:00", "2026-12-05T00:00"]),
        ("cron(0 0 ? * 6L *)", ["2026-11-27T00:00", "2026-12-25T00:00"]),
        ("cron(0 0 ? * 1 *)", ["2026-11-29T00:00", "2026-12-06T00:00"]),
        ("cron(0 0 ? * FRI-MON *)", ["2026-11-27T00:00", "2026-11-28T00:00", "2026-11-29T00:00"]),
        ("cron(0 0 29 2 ? *)", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("cron(0 0 29 2 ? 2096/4)", ["2096-02-29T00:00", "2104-02-29T00:00"]),
        ("cron(0 0 1 1 ? 2030-2040/5)", ["2030-01-01T00:00", "2035-01-01T00:00", "2040-01-01T00:00"]),
        ("rate(90 minutes)", ["2026-11-23T13:30", "2026-11-23T15:00"]),
        ("rate(7 days)", ["2026-11-30T12:00"]),
    ],
)
def test_a_schedule_fires_at_the_times_that_aws_documents(expression: str, expected: list[str]) -> None:
    assert fire_times(expression, len(expected)) == expected


def test_a_range_of_hours_over_midnight_applies_to_each_named_day() -> None:
    """AWS writes about its example: "Runs from 12:00 AM to 2:00 AM on Monday morning (UTC)"."""
    found = fire_times("cron(0/30 20-2 ? * MON-FRI *)", 9, after="2026-11-27T22:30:00Z")
    assert found[:3] == ["2026-11-27T23:00", "2026-11-27T23:30", "2026-11-30T00:00"]
    assert found[7:] == ["2026-11-30T02:30", "2026-11-30T20:00"]


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("cron(0 0 30 2 ? *)", 0),
        ("cron(0 0 1 1 ? 2020)", 0),
        ("cron(0 0 1 1 ? 2027-2029)", 3),
        ("cron(0 0 1 1 ? 2198/1)", 2),
        ("rate(36500 days)", 1),
        (f"rate({'9' * 200} days)", 0),
    ],
)
def test_a_schedule_that_ends_has_fewer_fire_times(expression: str, count: int) -> None:
    assert len(fire_times(expression, 100)) == count


def test_the_next_time_is_always_later_than_the_given_time() -> None:
    hourly = "cron(0 * * * ? *)"
    at_ms = ms_of_iso(MONDAY_NOON)
    assert next_fire_times(Timing(hourly), at_ms, 1) == [at_ms + 3_600_000]
    assert next_fire_times(Timing(hourly), at_ms - 1, 1) == [at_ms]
    assert next_fire_times(Timing(hourly), at_ms + 1, 1) == [at_ms + 3_600_000]


@pytest.mark.parametrize("expression", ["cron(0 0 30 2 ? *)", "cron(59 23 29 2 ? 2196)", "cron(* * * * ? *)"])
def test_distant_and_missing_fire_times_are_found_quickly(expression: str) -> None:
    begun = time.process_time()
    fire_times(expression, 100)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("expression", "per_year"),
    [
        ("cron(* * * * ? *)", 365 * 1440),
        ("rate(1 day)", 365),
        ("cron(0/30 8-9 ? * SUN *)", 52 * 4),
        ("cron(0 0 1 1 ? 2100)", 0),
    ],
)
def test_the_fires_within_a_number_of_days_are_counted(expression: str, per_year: int) -> None:
    assert fires_between(expression, ms_of_iso(MONDAY_NOON), 365) == per_year


@pytest.mark.samples
@settings(max_examples=cases(12, 200), deadline=None, derandomize=True)
@given(schedule=schedules(), after_ms=moments)
def test_each_minute_of_two_days_agrees_with_the_oracle(schedule: str, after_ms: int) -> None:
    begin = after_ms - after_ms % 60_000 + 60_000
    expected = [at_ms for at_ms in range(begin, begin + 2 * DAY_MS, 60_000) if fires_at(schedule, at_ms)]
    found = next_fire_times(Timing(schedule), after_ms, 3000)
    assert [at_ms for at_ms in found if at_ms < begin + 2 * DAY_MS] == expected


@pytest.mark.samples
@settings(max_examples=cases(30, 400), deadline=None, derandomize=True)
@given(days=days_of_month | days_of_week, months=fields(1, 12, MONTH_VALUES), after_ms=moments)
def test_each_day_of_a_year_agrees_with_the_oracle(days: tuple[str, str], months: str, after_ms: int) -> None:
    schedule = canonical(f"cron(0 0 {days[0]} {months} {days[1]} *)")
    begin = after_ms - after_ms % DAY_MS + DAY_MS
    year = range(begin, begin + 366 * DAY_MS, DAY_MS)
    expected = [at_ms for at_ms in year if fires_at(schedule, at_ms)]
    assert [at_ms for at_ms in next_fire_times(Timing(schedule), begin - 1, 366) if at_ms in year] == expected


@pytest.mark.samples
@settings(max_examples=cases(30, 400), deadline=None, derandomize=True)
@given(schedule=schedules(), after_ms=moments)
def test_the_next_times_are_later_than_the_given_time_sorted_and_correct(
    schedule: str, after_ms: int
) -> None:
    found = next_fire_times(Timing(schedule), after_ms, 20)
    assert found == sorted(set(found))
    assert all(at_ms > after_ms and fires_at(schedule, at_ms) for at_ms in found)
    assert canonical(schedule) == schedule


# Fire times within a range


@st.composite
def crons(draw: st.DrawFn) -> str:
    """Schedules that fire often or rarely, so that ranges begin and end within a day or between days."""
    minutes = draw(st.sampled_from(["0", "*/7", "*", "5,50", "58-2"]))
    hours = draw(st.sampled_from(["0", "23", "*", "*/5", "20-2"]))
    days = draw(st.sampled_from(["* * ?", "L * ?", "? * MON-FRI", "? 2 SUN#1", "31 * ?", "15W * ?"]))
    return f"cron({minutes} {hours} {days} {draw(st.sampled_from(['*', '2027', '2020']))})"


@given(
    st.one_of(crons(), st.sampled_from(["rate(1 minute)", "rate(7 hours)", "rate(1 day)"])),
    st.integers(1_795_000_000_000, 1_830_000_000_000),
    st.integers(-60_000, 5 * DAY_MS),
)
@pytest.mark.samples
@settings(max_examples=cases(80, 1000), deadline=None)
def test_the_summary_of_a_range_equals_its_times_one_by_one(
    schedule: str, after_ms: int, length_ms: int
) -> None:
    until_ms = after_ms + length_ms
    times = [ms for ms in next_fire_times(Timing(schedule), after_ms, 8000) if ms <= until_ms]
    expected = Fired(times[0], times[-1], len(times)) if times else None
    assert fired_within(Timing(schedule), after_ms, until_ms) == expected


@given(
    crons(),
    st.integers(1_795_000_000_000, 1_830_000_000_000),
    st.lists(st.integers(0, 2 * DAY_MS), min_size=1, max_size=5),
)
@pytest.mark.samples
@settings(max_examples=cases(30, 400), deadline=None)
def test_adjacent_ranges_contain_each_time_once(schedule: str, after_ms: int, lengths: list[int]) -> None:
    found, start = 0, after_ms
    for length in lengths:
        part = fired_within(Timing(schedule), start, start + length)
        found += part.count if part else 0
        start += length
    whole = fired_within(Timing(schedule), after_ms, start)
    assert found == (whole.count if whole else 0)


def test_all_minutes_of_a_year_are_counted() -> None:
    whole = fired_within(
        Timing("cron(* * * * ? *)"), 1_798_761_600_000 - 1, 1_798_761_600_000 + 365 * DAY_MS - 1
    )
    assert whole is not None
    assert whole.count == 365 * 24 * 60
