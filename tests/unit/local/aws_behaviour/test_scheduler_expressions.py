"""Scheduler's expressions. The other implementation here is that of the manager's own previews."""

from datetime import UTC, datetime
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobmanager.schedules import expression as manager
from jobmanager.schedules.fire_times import next_fire_times
from jobmanager.schedules.timing import Timing
from local.aws_behaviour.scheduler.expressions import At, InvalidExpression, Rate, parse
from local.aws_behaviour.scheduler.fire_times import fire_times


def times_in_utc(expression: str, since: str, count: int) -> list[str]:
    began = datetime.fromisoformat(since).replace(tzinfo=UTC).timestamp()
    found = islice(fire_times({"ScheduleExpression": expression}, began), count)
    return [f"{time:%Y-%m-%dT%H:%M}" for time in found]


# Recorded on AWS: https://github.com/localstack/localstack/blob/master/tests/aws/services/scheduler/
# test_scheduler.snapshot.json; and fractions and seconds, which people report.
@pytest.mark.parametrize(
    "refused",
    [
        "cron(0 1 * * * *)",
        "cron(7 20 * * NOT *)",
        "cron(INVALID)",
        "cron(0 dummy ? * MON-FRI *)",
        "cron(71 8 1 * ? *)",
        "cron()",
        "rate(10 seconds)",
        "rate(10 years)",
        "rate()",
        "rate(10)",
        "rate(10 minutess)",
        "rate(foo minutes)",
        "rate(-10 minutes)",
        "rate( 10 minutes )",
        " rate(10 minutes)",
        "at(2021-12-31T23:59:59Z)",
        "at(2021-12-31)",
        "at(2026-09-08T03:54:26.439)",
        "cron(*/30 * * * * ? *)",
    ],
)
def test_what_aws_refused_is_refused(refused: str) -> None:
    with pytest.raises(InvalidExpression):
        parse(refused)


@pytest.mark.parametrize(
    "refused",
    [
        "",
        "bad",
        "cron(bad)",
        "rate(0 minutes)",
        "rate(1.5 hours)",
        "rate(٣ minutes)",
        "rate(999999999999999999 days)",
        "at(2027-02-29T00:00:00)",
        "at(2027-01-01T24:00:00)",
        "at(2027-01-01 00:00:00)",
        "at(0001-01-01T00:00:00)",
        "at(9999-12-31T23:59:59)",
        "cron(0 0 * * ?)",
        "cron(0 0 ? * ? *)",
        "cron(0 0 1 * MON *)",
        "cron(0 24 * * ? *)",
        "cron(0 0 0 * ? *)",
        "cron(0 0 32 * ? *)",
        "cron(0 0 * 13 ? *)",
        "cron(0 0 ? * 0 *)",
        "cron(0 0 ? * 8 *)",
        "cron(0 0 * * ? 1969)",
        "cron(0 0 * * ? 2200)",
        "cron(0 0 * * ? 2030-2029)",
        "cron(0/0 0 * * ? *)",
        "cron(0/60 0 * * ? *)",
        "cron(*-5 0 * * ? *)",
        "cron(1--5 0 * * ? *)",
        "cron(,1 0 * * ? *)",
        "cron(0 0 L-3 * ? *)",
        "cron(0 0 L,1 * ? *)",
        "cron(0 0 15W,1 * ? *)",
        "cron(0 0 W * ? *)",
        "cron(0 0 ? * 3#1,6#3 *)",
        "cron(0 0 ? * 3#6 *)",
        "cron(0 0 ? * 3# *)",
        "cron(0 0 ? * 1L,2 *)",
        "cron(٣ 0 * * ? *)",
        "cron(0  0 * * ? *)",
        "cron( 0 0 * * ? *)",
        "cron(0 0 * * ? *) ",
    ],
)
def test_what_no_page_allows_is_refused(refused: str) -> None:
    with pytest.raises(InvalidExpression):
        parse(refused)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("rate(1 minute)", 60),
        ("rate(1 minutes)", 60),
        ("rate(5 minute)", 300),
        ("rate(2 hours)", 7200),
        ("rate(1 days)", 86_400),
    ],
)
def test_a_rate_takes_either_form_of_its_unit(text: str, seconds: int) -> None:
    found = parse(text)

    assert isinstance(found, Rate)
    assert found.period.total_seconds() == seconds


def test_at_has_the_local_time() -> None:
    assert parse("at(2022-11-20T13:00:00)") == At(datetime(2022, 11, 20, 13))


@pytest.mark.parametrize(
    ("text", "since", "times"),
    [
        # Examples of AWS's page.
        (
            "cron(15 10 ? * 6L 2022-2023)",
            "2022-11-01T00:00",
            ["2022-11-25T10:15", "2022-12-30T10:15", "2023-01-27T10:15"],
        ),
        ("cron(0 8 ? * 3#2 *)", "2027-01-01T00:00", ["2027-01-12T08:00", "2027-02-09T08:00"]),
        ("cron(0 8 3W * ? *)", "2027-01-01T00:00", ["2027-01-04T08:00", "2027-02-03T08:00"]),
        ("cron(1/10 * * * ? *)", "2027-01-01T00:50", ["2027-01-01T00:51", "2027-01-01T01:01"]),
        ("cron(0 0 1 JAN,FEB,MAR ? *)", "2027-02-15T00:00", ["2027-03-01T00:00", "2028-01-01T00:00"]),
        # The nearest weekday stays within its month.
        ("cron(0 8 1W * ? *)", "2027-04-30T09:00", ["2027-05-03T08:00"]),  # the first is a Saturday
        ("cron(0 8 31W * ? *)", "2027-01-01T00:00", ["2027-01-29T08:00", "2027-03-31T08:00"]),  # a Sunday
        ("cron(0 8 30W 2 ? *)", "2027-01-01T00:00", []),
        ("cron(0 8 LW * ? *)", "2027-01-01T00:00", ["2027-01-29T08:00", "2027-02-26T08:00"]),
        ("cron(0 8 L 2 ? *)", "2027-01-01T00:00", ["2027-02-28T08:00", "2028-02-29T08:00"]),
        # The last day of the week is Saturday.
        ("cron(0 8 ? * L *)", "2027-01-01T00:00", ["2027-01-02T08:00", "2027-01-09T08:00"]),
        ("cron(0 8 ? * FRIL *)", "2027-01-01T00:00", ["2027-01-29T08:00"]),
        ("cron(0 8 ? * MON#5 *)", "2027-01-01T00:00", ["2027-03-29T08:00", "2027-05-31T08:00"]),
        # Ranges wrap around.
        ("cron(0 8 ? * FRI-MON *)", "2027-01-01T09:00", ["2027-01-02T08:00", "2027-01-03T08:00"]),
        ("cron(0 22-1 * * ? *)", "2027-01-01T22:30", ["2027-01-01T23:00", "2027-01-02T00:00"]),
        ("cron(0 0 1 11-2/2 ? *)", "2027-02-01T00:00", ["2027-11-01T00:00", "2028-01-01T00:00"]),
        # Recorded on AWS, in an issue of LocalStack: a range of one value.
        ("cron(0-15/1 8-8 ? * 2,3,4,5,6,7 *)", "2027-01-02T09:00", ["2027-01-04T08:00"]),
        # Leap days.
        ("cron(0 0 29 2 ? *)", "2096-03-01T00:00", ["2104-02-29T00:00"]),
        ("cron(0 0 29 2 ? 2100)", "2096-03-01T00:00", []),
        ("cron(0 0 30 2 ? *)", "2027-01-01T00:00", []),
        ("cron(0 0 31 4,6 ? *)", "2027-01-01T00:00", []),
        # Years.
        ("cron(0 0 1 1 ? 2199)", "2027-01-01T00:00", ["2199-01-01T00:00"]),
        ("cron(0 0 1 1 ? 2030/50)", "2027-01-01T00:00", ["2030-01-01T00:00", "2080-01-01T00:00"]),
        ("cron(0 0 1 1 ? 2020)", "2027-01-01T00:00", []),
        ("cron(59 23 31 12 ? 2199)", "2199-12-31T23:59", ["2199-12-31T23:59"]),
        # The minute in which a schedule is created has begun.
        ("cron(* * * * ? *)", "2027-01-01T00:00:01", ["2027-01-01T00:01"]),
        ("cron(* * * * ? *)", "2027-01-01T00:00:00", ["2027-01-01T00:00"]),
    ],
)
def test_cron_fires_at_these_times(text: str, since: str, times: list[str]) -> None:
    assert times_in_utc(text, since, len(times) or 1) == times


def lists_of(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    step = st.integers(1, min(high, 7))
    part = st.one_of(
        number.map(str),
        st.tuples(number, number).map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.tuples(number, step).map(lambda pair: f"{pair[0]}/{pair[1]}"),
        st.tuples(number, number, step).map(lambda three: f"{three[0]}-{three[1]}/{three[2]}"),
        step.map(lambda every: f"*/{every}"),
    )
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


days_of_month = st.one_of(
    lists_of(1, 31), st.sampled_from(["L", "LW"]), st.integers(1, 31).map(lambda day: f"{day}W")
)
days_of_week = st.one_of(
    lists_of(1, 7),
    st.sampled_from(["L", "SUN", "MON-FRI", "FRI-MON", "SAT,TUE", "WEDL", "1L", "7L"]),
    st.tuples(st.integers(1, 7), st.integers(1, 5)).map(lambda pair: f"{pair[0]}#{pair[1]}"),
)
years = st.one_of(
    st.just("*"),
    st.integers(2026, 2199).map(str),
    st.tuples(st.integers(2026, 2060), st.integers(0, 139)).map(lambda two: f"{two[0]}-{two[0] + two[1]}"),
)


@settings(deadline=None)
@given(
    st.builds(
        lambda minutes, hours, days, months, year: (
            f"cron({minutes} {hours} {days[0]} {months} {days[1]} {year})"
        ),
        lists_of(0, 59),
        lists_of(0, 23),
        st.one_of(days_of_month.map(lambda day: (day, "?")), days_of_week.map(lambda day: ("?", day))),
        lists_of(1, 12),
        years,
    ),
    st.integers(0, 40 * 365 * 24 * 60),
)
def test_the_manager_previews_the_times_at_which_the_emulator_fires(text: str, minute: int) -> None:
    since = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) + 60 * minute + 1

    fired = islice(fire_times({"ScheduleExpression": text}, since), 4)
    previewed = next_fire_times(Timing(manager.canonical(text)), since * 1000, 4)

    assert [round(time.timestamp() * 1000) for time in fired] == previewed
