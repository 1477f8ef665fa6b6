"""Compares fire times in time zones with two others: each minute, one by one, and the library cronsim."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.schedules.expression import DAYS, canonical
from jobmanager.schedules.fire_times import (
    Fired,
    fired_within,
    fires_again,
    next_fire_times,
    next_local_times,
)
from jobmanager.schedules.timing import Timing
from jobmanager.schedules.zones import zone_of
from tests.exhaustive import cases
from tests.unit.functions.jobmanager.schedules.cron_oracle import fields, fires_at

MINUTE_MS, DAY_MS = 60_000, 86_400_000
BERLIN = "Europe/Berlin"
# A change of the clocks in each: a moment in the middle of a week that has one.
CHANGES = [
    (zone, ms_of_iso(f"{day}T12:00:00Z"))
    for zone, day in (
        (BERLIN, "2027-03-28"),
        (BERLIN, "2027-10-31"),
        (BERLIN, "2198-03-25"),
        ("America/New_York", "2027-03-14"),
        ("America/New_York", "2027-11-07"),
        ("America/St_Johns", "2010-03-14"),
        ("America/St_Johns", "2010-11-07"),
        ("America/Nuuk", "2027-03-28"),
        ("America/Nuuk", "2027-10-31"),
        ("Australia/Lord_Howe", "2027-10-03"),
        ("Australia/Lord_Howe", "2027-04-04"),
        ("Pacific/Chatham", "2027-09-26"),
        ("Pacific/Chatham", "2027-04-04"),
        ("Pacific/Apia", "2011-12-30"),
        ("Asia/Kathmandu", "1986-01-01"),
        ("Africa/Casablanca", "2025-02-23"),
        ("Africa/Casablanca", "2025-04-06"),
        ("Africa/Cairo", "2027-04-30"),
        ("Africa/Cairo", "2027-10-29"),
        ("Antarctica/Troll", "2027-03-28"),
        ("Antarctica/Troll", "2027-10-31"),
        ("UTC", "2028-02-29"),
    )
]
changes = st.sampled_from(CHANGES)
# It errs if a change is not of whole hours or not on the hour, and if a whole day is skipped.
CRONSIM_ERRS_IN = {"Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns", "Pacific/Apia"}


@st.composite
def frequent_schedules(draw: st.DrawFn) -> str:
    """Schedules that fire in most weeks."""
    days = draw(st.sampled_from(["* * ?", "? * MON-FRI", "? * SUN", "? * FRI-SUN", "L * ?", "20-10 * ?"]))
    return canonical(f"cron({draw(fields(0, 59))} {draw(fields(0, 23))} {days} *)")


def by_the_clock(moment_ms: int, zone: str) -> datetime:
    return datetime.fromtimestamp(moment_ms // 1000, zone_of(zone))


def local_minutes(zone: str, begin_ms: int, end_ms: int) -> Iterator[tuple[int, datetime]]:
    """Each minute of a range, and what the clock shows then for the first time."""
    shown: set[datetime] = set()
    for moment_ms in range(begin_ms, end_ms, MINUTE_MS):
        local = by_the_clock(moment_ms, zone).replace(tzinfo=None, fold=0)
        if local not in shown:
            yield moment_ms, local
        shown.add(local)


def fires_when_the_clock_shows(schedule: str, local: datetime) -> bool:
    return fires_at(schedule, int(local.replace(tzinfo=UTC).timestamp()) * 1000)


@pytest.mark.samples
@settings(max_examples=cases(8, 400), deadline=None, derandomize=True)
@given(change=changes, schedule=frequent_schedules())
def test_each_minute_of_the_week_around_a_change_agrees(change: tuple[str, int], schedule: str) -> None:
    zone, middle_ms = change
    begin_ms, end_ms = middle_ms - 7 * DAY_MS // 2, middle_ms + 7 * DAY_MS // 2
    minutes = list(local_minutes(zone, begin_ms, end_ms))
    expected = [ms for ms, local in minutes if fires_when_the_clock_shows(schedule, local)]

    timing = Timing(schedule, zone)
    found = [ms for ms in next_fire_times(timing, begin_ms - 1, 10_081) if ms < end_ms]
    assert found == expected
    within = fired_within(timing, begin_ms - 1, end_ms - 1)
    assert within == (Fired(found[0], found[-1], len(found)) if found else None)

    shown = {local for _, local in minutes}
    first, last = minutes[0][1], minutes[-1][1]
    nominal = (first + timedelta(minutes=n) for n in range(int((last - first) / timedelta(minutes=1))))
    skipped = [
        local for local in nominal if local not in shown and fires_when_the_clock_shows(schedule, local)
    ]
    listed = [each for each in next_local_times(timing, begin_ms - 1, 11_600) if each.utc_ms < end_ms]
    locals_of_skipped = [datetime.fromisoformat(each.iso()[:19]) for each in listed if each.is_skipped]
    assert locals_of_skipped == skipped


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    """A field of numbers. The ends of a span are distinct, because cronsim takes ``3-3/2`` for ``3/2``."""
    one = st.integers(low, high)
    span = st.tuples(one, one).filter(lambda ends: ends[0] < ends[1]).map(lambda ends: f"{ends[0]}-{ends[1]}")
    steps = st.builds("{}/{}".format, st.just("*") | span, st.integers(1, 12))
    return st.just("*") | st.lists(one.map(str) | span | steps, min_size=1, max_size=3).map(",".join)


days_of_month = (numbers(1, 31) | st.sampled_from(["L", "LW"])).map(lambda text: (text, "?"))
a_day = st.sampled_from(DAYS)
days_of_week = (
    st.lists(a_day, min_size=1, max_size=3).map(",".join)
    | st.sampled_from(["MON-FRI", "SUN-TUE", "WED-SAT"])
    | st.builds("{}#{}".format, a_day, st.integers(1, 5))
    | a_day.map("{}L".format)
).map(lambda text: ("?", text))


@st.composite
def common_schedules(draw: st.DrawFn) -> tuple[str, str]:
    """One schedule in AWS's form and in cronsim's, of the fields that both know."""
    minutes, hours, months = draw(numbers(0, 59)), draw(numbers(0, 23)), draw(numbers(1, 12))
    day_of_month, day_of_week = draw(days_of_month | days_of_week)
    schedule = canonical(f"cron({minutes} {hours} {day_of_month} {months} {day_of_week} *)")
    if day_of_week.endswith("L"):  # cronsim wants a number here, and counts from Sunday as 0
        day_of_week = f"{DAYS.index(day_of_week.removesuffix('L'))}L"
    # With a field for seconds, cronsim fires whenever the clock shows a time, unlike Debian's cron.
    return schedule, f"0 {minutes} {hours} {day_of_month} {months} {day_of_week}".replace("?", "*")


@pytest.mark.samples
@settings(max_examples=cases(40, 300), deadline=None, derandomize=True)
@given(
    change=changes.filter(lambda change: change[0] not in CRONSIM_ERRS_IN),
    schedules=common_schedules(),
    before=st.integers(0, 3 * 1440).map(lambda minutes: minutes * MINUTE_MS),
)
def test_cronsim_agrees_on_the_fields_that_both_know(
    change: tuple[str, int], schedules: tuple[str, str], before: int
) -> None:
    zone, middle_ms = change
    schedule, expression = schedules
    after_ms = middle_ms - before
    found = next_fire_times(Timing(schedule, zone), after_ms, 40)
    # It also fires when the clock shows a time again.
    others = (at for at in CronSim(expression, by_the_clock(after_ms, zone)) if at.fold == 0)
    assert found == [int(at.timestamp()) * 1000 for at in islice(others, len(found) or 1)]


# Counting, bounds and ends


any_schedules = frequent_schedules() | st.sampled_from(
    ["rate(1 minute)", "rate(7 hours)", "rate(1 day)", "at(2027-03-28T01:30:00)", "at(2027-10-31T02:30:00)"]
)
offsets_ms = st.integers(-4 * DAY_MS, 4 * DAY_MS)


@pytest.mark.samples
@settings(max_examples=cases(40, 1000), deadline=None, derandomize=True)
@given(
    change=changes,
    schedule=any_schedules,
    start=st.none() | offsets_ms,
    end=st.none() | offsets_ms,
    after=offsets_ms,
    until=offsets_ms,
)
def test_the_summary_of_a_range_equals_its_times_within_bounds_one_by_one(
    change: tuple[str, int], schedule: str, start: int | None, end: int | None, after: int, until: int
) -> None:
    zone, middle_ms = change
    bounds = [None if each is None else middle_ms + each for each in (start, end)]
    timing = Timing(schedule, zone, *bounds)
    after_ms, until_ms = middle_ms + after, middle_ms + until
    times = [ms for ms in next_fire_times(timing, after_ms, 12_000) if ms <= until_ms]
    expected = Fired(times[0], times[-1], len(times)) if times else None
    assert fired_within(timing, after_ms, until_ms) == expected
    assert all((bounds[0] or ms) <= ms <= (bounds[1] or ms) for ms in times)


@pytest.mark.parametrize(
    ("timing", "last"),
    [
        (Timing("at(2027-03-27T02:30:00)", BERLIN), "2027-03-27T01:30:00Z"),
        (Timing("cron(30 2 * 3 ? 2027)", BERLIN), "2027-03-31T00:30:00Z"),
        # The last times are skipped, or are past the end.
        (Timing("cron(30 2 1-28 3 ? 2027)", BERLIN), "2027-03-27T01:30:00Z"),
        (
            Timing("cron(30 2 * * ? *)", BERLIN, None, ms_of_iso("2027-03-28T23:00:00Z")),
            "2027-03-27T01:30:00Z",
        ),
        (Timing("cron(0 2 * * ? *)", "UTC", None, ms_of_iso("2027-03-28T02:00:00Z")), "2027-03-28T02:00:00Z"),
        (Timing("rate(2 days)", BERLIN, 0, ms_of_iso("1970-01-08T00:00:00Z")), "1970-01-07T00:00:00Z"),
    ],
    ids=str,
)
def test_it_is_known_which_fire_time_is_the_last(timing: Timing, last: str) -> None:
    last_ms = ms_of_iso(last)
    found = fired_within(timing, -1, ms_of_iso("2199-12-31T23:59:59Z"))
    assert found is not None
    assert iso(found.last_ms) == last
    assert fires_again(timing, last_ms - 1)
    assert not fires_again(timing, last_ms)


def test_a_rate_fires_again_if_its_next_tick_is_not_past_the_end() -> None:
    timing = Timing("rate(1 hour)", "UTC", None, 10 * 3_600_000)
    assert fires_again(timing, 9 * 3_600_000)
    assert not fires_again(timing, 9 * 3_600_000 + 1)


def test_what_is_far_away_or_much_is_found_quickly() -> None:
    begun = time.process_time()
    start_ms = ms_of_iso("2027-01-01T00:00:00Z")
    every_minute = Timing("cron(* * * * ? *)", BERLIN)
    assert len(next_fire_times(every_minute, start_ms, 10_000)) == 10_000
    of_a_year = fired_within(every_minute, start_ms, start_ms + 365 * DAY_MS)
    assert of_a_year is not None
    assert (
        of_a_year.count == 365 * 1440 - 60
    )  # The hour that is skipped. The one that comes twice counts once.
    assert iso(next_fire_times(Timing("cron(0 0 29 2 ? 2196)", BERLIN), 0, 2)[0]) == "2196-02-28T23:00:00Z"
    assert not fires_again(Timing("cron(* 2 ? 3 SUNL *)", BERLIN), start_ms)
    assert not fires_again(Timing("cron(0 0 30 2 ? *)", BERLIN), 0)
    assert time.process_time() - begun < 1
