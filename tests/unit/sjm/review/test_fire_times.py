"""Fire times, and the gaps in them."""

from datetime import UTC, datetime, timedelta

import pytest

from jobmanager.schedules.preview import preview_schedule
from sjm.review.fire_times import FireTimes, fire_times, in_words
from tests.unit.sjm.small_stage import NOW_MS


def previewed(schedule: str, count: int = 10) -> FireTimes:
    return fire_times(preview_schedule({"schedule": schedule, "count": str(count)}, NOW_MS), count)


def gaps(schedule: str) -> list[str]:
    """The gaps, each by the days without a fire, or its length."""
    times = previewed(schedule).times
    return [" ".join(each.days_without()) or in_words(each.gap) for each in times if each.gap]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cron(0 2 * * ? *)", []),
        ("cron(0 2 ? * MON-FRI *)", ["Sat Sun"]),
        ("cron(0 2 ? * SUN,WED *)", []),  # neither is three days beside four
        ("cron(0 2 ? * SAT,SUN *)", ["Mon Tue Wed Thu Fri"]),
        ("cron(0 2 1 * ? *)", []),  # months differ in length, and that is no gap
        ("cron(0 0 31 * ? *)", ["59 days", "61 days", "61 days", "61 days", "61 days", "60 days"]),
        ("cron(0/30 8-12 * * ? *)", ["19 hours 30 minutes"]),
        ("cron(0,5 * * * ? *)", ["55 minutes"] * 5),
        ("rate(1 hour)", []),
    ],
)
def test_gaps_are_marked(schedule: str, expected: list[str]) -> None:
    found = gaps(schedule)

    assert found[: len(expected)] == expected if expected else found == []


def test_a_schedule_that_ends_or_never_fires_says_so() -> None:
    assert previewed("cron(0 0 31 2 ? *)").never_fires
    assert not previewed("cron(0 2 * * ? *)").is_complete
    once = previewed("cron(0 2 24 12 ? 2026)")
    assert (len(once.times), once.is_complete, once.never_fires) == (1, True, False)


def test_a_rate_is_counted_from_now() -> None:
    assert previewed("rate(1 hour)").is_counted_from_now
    assert not previewed("cron(0 * * * ? *)").is_counted_from_now


def test_a_document_has_times_in_utc_and_gaps_in_seconds() -> None:
    monday = previewed("cron(0 2 ? * MON-FRI *)").document()[5]

    assert monday == {"at": "2026-12-07T02:00:00Z", "gap_seconds": 3 * 86_400}


def test_times_with_an_offset_are_told_in_utc() -> None:
    found = fire_times({"schedule": "cron(0 2 * * ? *)", "fire_times": ["2026-12-01T02:00:00+01:00"]})

    assert found.times[0].at == datetime(2026, 12, 1, 1, tzinfo=UTC)
    assert found.document() == [{"at": "2026-12-01T01:00:00Z"}]


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(), "0 seconds"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(days=2, hours=14, minutes=3), "2 days 14 hours"),
        (timedelta(hours=1, seconds=5), "1 hour 5 seconds"),
    ],
)
def test_durations_have_words(duration: timedelta, words: str) -> None:
    assert in_words(duration) == words
