"""When a job fires, by the review, compared with the manager."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from jobmanager.jobs.timing import schedule_key
from jobmanager.jobs.validation import definition
from jobmanager.schedules.fire_times import fired_within
from jobmanager.schedules.keys import timing_of
from sjm.review.timing import Timing, canonical_bounds, timing_of_job, timing_of_key
from tests.unit.sjm.review.test_fields import JOB
from tests.unit.sjm.small_stage import TOPIC

HALF_PAST_TWO = "cron(30 2 * * ? *)"
BERLIN = f"{HALF_PAST_TWO} Europe/Berlin"
TIMINGS: list[dict[str, Any]] = [
    {"schedule": HALF_PAST_TWO},
    {"schedule": HALF_PAST_TWO, "time_zone": "UTC"},
    {"schedule": HALF_PAST_TWO, "time_zone": "Europe/Berlin"},
    {"schedule": HALF_PAST_TWO, "start_at": "2026-12-24T19:00:00+01:00"},
    {"schedule": HALF_PAST_TWO, "time_zone": "Asia/Kathmandu", "end_at": "2026-12-24T18:00:00.7Z"},
    {"schedule": HALF_PAST_TWO, "start_at": "2026-12-24T18:00:00.001Z"},
    {"schedule": HALF_PAST_TWO, "start_at": "2026-12-24T18:00:00.0009Z"},
    {"schedule": "at(2026-12-24T18:00:00)"},
    {"schedule": "rate(1 hour)", "time_zone": "Europe/Berlin"},
    {"schedule": "rate(1 hour)", "start_at": "2026-12-24T18:00:00Z", "end_at": "2027-01-01T00:00:00Z"},
]


@pytest.mark.parametrize("fields", TIMINGS)
def test_a_job_has_the_key_that_the_manager_gives_it(fields: dict[str, Any]) -> None:
    saved = definition({**JOB, **fields}, TOPIC)
    timing = timing_of_job(canonical_bounds({**JOB, **fields}))

    assert timing.key == schedule_key(saved)
    assert timing_of_key(timing.key).key == timing.key


@pytest.mark.parametrize(
    ("key", "around"),
    [
        (BERLIN, "2027-03-28T00:00:00Z"),  # the day of the gap
        (BERLIN, "2027-10-31T00:00:00Z"),  # the day on which the clock shows 02:30 twice
        ("cron(0/20 2 * * ? *) Australia/Lord_Howe", "2027-04-03T15:00:00Z"),
        ("cron(15 * * * ? *) Asia/Kathmandu", "2026-12-01T00:00:00Z"),
        ("at(2026-12-24T18:00:00) America/New_York", "2026-12-24T22:00:00Z"),
        (f"{HALF_PAST_TWO} UTC until 2026-12-01T02:29:00Z", "2026-12-01T02:00:00Z"),
        (f"{HALF_PAST_TWO} UTC from 2026-12-01T02:30:30Z", "2026-12-01T02:00:00Z"),
        ("rate(7 minutes) UTC from 2026-12-01T02:30:30Z", "2026-12-01T02:00:00Z"),
        ("rate(7 minutes) UTC from 2026-12-01T02:30:00Z until 2026-12-01T02:44:00Z", "2026-12-01T02:00:00Z"),
    ],
)
def test_it_fires_in_the_minutes_of_the_manager(key: str, around: str) -> None:
    minutes = [datetime.fromisoformat(around) + timedelta(minutes=number) for number in range(6 * 60)]

    def fired(minute: datetime) -> bool:
        ms = int(minute.timestamp()) * 1000
        return fired_within(timing_of(key), ms - 1, ms + 59_999) is not None

    assert [timing_of_key(key).fires_in(each) for each in minutes] == [fired(each) for each in minutes]


@pytest.mark.parametrize("key", ["every night", "cron(0 2 * * ? *) Mars/Phobos", "cron(0 2 * * ? *) ../zone"])
def test_of_what_is_not_known_nothing_is_said(key: str) -> None:
    assert timing_of_key(key).fires_in(datetime(2026, 12, 1, 2, tzinfo=UTC)) is None


def test_a_rate_without_a_start_is_counted_from_when_its_trigger_was_made() -> None:
    assert Timing("rate(1 hour)").fires_in(datetime(2026, 12, 1, 2, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("timing", "runs"),
    [
        (Timing("at(2026-12-24T18:00:00)"), 1),
        (Timing("at(2026-11-28T18:00:00)"), 0),
        (Timing(HALF_PAST_TWO, "Europe/Berlin"), 365),
        (Timing(HALF_PAST_TWO, end_at="2026-12-08T12:00:00Z"), 10),
        (Timing(HALF_PAST_TWO, end_at="2026-01-01T00:00:00Z"), 0),
        (Timing(HALF_PAST_TWO, start_at="2027-11-19T00:00:00Z"), 10),
        (Timing("every night"), None),
    ],
)
def test_runs_of_a_year_are_counted_within_the_bounds(timing: Timing, runs: float | None) -> None:
    assert timing.runs_in(date(2026, 11, 29), 365) == runs
