"""How many other jobs share a minute."""

from datetime import UTC, datetime
from typing import Any

from sjm.review.neighbours import Neighbours, SchedulesInUse

TWO = datetime(2026, 12, 1, 2, tzinfo=UTC)  # a Tuesday
DAILY = "cron(0 2 * * ? *)"


def found(counts: dict[str, int], own: str = DAILY) -> Neighbours:
    return SchedulesInUse(counts).neighbours(TWO, own)


def test_jobs_of_the_same_and_of_other_schedules_count_except_itself() -> None:
    counts = {DAILY: 3, "cron(0 * * * ? *)": 10, "cron(0 2 ? * TUE *)": 100, "cron(1 2 * * ? *)": 1000}

    assert found(counts).jobs == 2 + 10 + 100
    assert found({DAILY: 1}).jobs == 0


def test_rates_are_counted_apart_because_their_minutes_are_not_known() -> None:
    counts = {DAILY: 1, "rate(1 minute)": 2, "rate(1 hour)": 4, "at(2026-12-01T02:00:00) Mars/Phobos": 8}

    assert (found(counts).jobs, found(counts).maybe) == (2, 4 + 8)


def test_schedules_in_time_zones_count_by_their_clocks() -> None:
    counts = {
        DAILY: 1,
        "cron(0 3 * * ? *) Europe/Berlin": 2,
        "cron(0 2 * * ? *) Europe/Berlin": 4,
        "at(2026-12-01T07:45:00) Asia/Kathmandu": 8,
        "cron(0 2 * * ? *) UTC until 2026-11-30T12:00:00Z": 16,
    }

    assert (found(counts).jobs, found(counts).maybe) == (2 + 8, 0)


def pages(count: int, more: bool) -> list[dict[str, Any]]:
    return [
        {
            "results": [{"schedule_key": f"cron({number} 2 * * ? *)", "job_count": 1}],
            "paging": {"more": "m"} if more or number < count - 1 else {},
        }
        for number in range(count)
    ]


def test_the_pages_that_are_read_are_limited_and_the_count_says_so() -> None:
    asked = iter(pages(5, more=True))
    capped = SchedulesInUse.of_pages(asked, max_pages=3)

    assert next(asked)["results"][0]["schedule_key"] == "cron(3 2 * * ? *)"  # the fourth was not asked for
    assert capped.neighbours(TWO, DAILY).is_at_least
    assert not SchedulesInUse.of_pages(pages(3, more=False), max_pages=3).neighbours(TWO, DAILY).is_at_least


def test_moves_are_counted() -> None:
    in_use = SchedulesInUse({DAILY: 1})
    in_use.move(None, DAILY)
    in_use.move(DAILY, "rate(1 day)")

    assert (in_use.jobs_of(DAILY), in_use.jobs_of("rate(1 day)"), in_use.jobs_of("rate(1 hour)")) == (1, 1, 0)
