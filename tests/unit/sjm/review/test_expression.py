"""In which minutes a schedule fires: as the manager computes it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobmanager.schedules.expression import InvalidSchedule, canonical
from jobmanager.schedules.fire_times import fires_between, next_fire_times
from jobmanager.schedules.timing import Timing
from sjm.review.expression import parsed

MINUTES = st.sampled_from(["0", "*", "0/15", "5,35", "50-10", "59"])
HOURS = st.sampled_from(["0", "*", "2", "20-2", "0/6", "8-18/2"])
DAYS = st.sampled_from(
    [(day, "?") for day in ("*", "31", "L", "LW", "15W", "31W", "1W", "1-7")]
    + [
        ("?", day)
        for day in ("*", "MON-FRI", "FRI-MON", "L", "6L", "TUE#5", "2#1", "MON/2", "SUN,WED", "FRIL")
    ]
)
MONTHS = st.sampled_from(["*", "2", "FEB", "NOV-FEB", "1/3", "JAN,JUL"])
YEARS = st.sampled_from(["*", "2028", "2026-2027", "2027/2"])
CRONS = st.builds(
    lambda minute, hour, day, month, year: canonical(
        f"cron({minute} {hour} {day[0]} {month} {day[1]} {year})"
    ),
    MINUTES,
    HOURS,
    DAYS,
    MONTHS,
    YEARS,
)
TIMES = st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))


@settings(deadline=None)
@given(CRONS, TIMES)
def test_it_fires_in_the_minutes_that_the_manager_previews(schedule: str, after: datetime) -> None:
    known = parsed(schedule)
    assert known is not None
    after_ms = int(after.timestamp()) * 1000
    for fires_at in next_fire_times(Timing(schedule), after_ms, 3):
        at = datetime.fromtimestamp(fires_at // 1000, UTC)
        assert known.fires_in(at)
    previewed = set(next_fire_times(Timing(schedule), after_ms - after_ms % 60_000 - 1, 5))
    for number in range(5):  # in each of these minutes it fires only if the preview has it
        minute_ms = after_ms - after_ms % 60_000 + number * 60_000
        fires = known.fires_in(datetime.fromtimestamp(minute_ms // 1000, UTC))
        assert fires == (minute_ms in previewed)


@settings(deadline=None)
@given(CRONS, TIMES, st.integers(1, 400))
def test_it_counts_runs_as_the_manager_does(schedule: str, first: datetime, days: int) -> None:
    known = parsed(schedule)
    assert known is not None
    assert known.runs_in(first.date(), days) == fires_between(schedule, int(first.timestamp()) * 1000, days)


@pytest.mark.parametrize("schedule", ["rate(1 minute)", "rate(5 minutes)", "rate(1 day)", "rate(7 hours)"])
def test_it_counts_rates(schedule: str) -> None:
    known = parsed(schedule)
    assert known is not None
    assert known.runs_in(datetime(2026, 1, 1, tzinfo=UTC).date(), 365) == pytest.approx(
        fires_between(schedule, 0, 365)
    )


def test_only_a_rate_of_a_minute_is_known_to_fire_in_one() -> None:
    noon = datetime(2026, 11, 29, 12, tzinfo=UTC)

    assert [known.fires_in(noon) for name in ("minute", "hour") if (known := parsed(f"rate(1 {name})"))] == [
        True,
        None,
    ]


@pytest.mark.parametrize(
    "text",
    ["", "at(2026-02-30T18:00:00)", "rate(x days)", "rate(1 week)", "cron(0 2 * * ?)"],
)
def test_a_schedule_of_an_unknown_form_is_none(text: str) -> None:
    assert parsed(text) is None


@settings(deadline=None)
@given(
    st.text(max_size=40)
    | st.lists(st.text(alphabet="0123456789*?LW#/-,AMON", max_size=4), max_size=7).map(" ".join)
)
def test_no_text_is_a_surprise(text: str) -> None:
    for schedule in (text, f"cron({text})", f"rate({text})"):
        known = parsed(schedule)
        try:
            is_valid = canonical(schedule) == schedule
        except InvalidSchedule:
            is_valid = False
        if is_valid:
            assert known is not None
