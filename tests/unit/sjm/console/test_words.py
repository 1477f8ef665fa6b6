"""Times, durations and schedules in words; places in the timelines."""

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from jobmanager.core.clock import ms_of_iso
from sjm.client import Execution
from sjm.console import timeline, words

NOON_MS = ms_of_iso("2026-11-24T12:00:00Z")
BERLIN = ZoneInfo("Europe/Berlin")


def test_a_clock_may_show_seconds() -> None:
    assert words.clock(NOON_MS + 9000, BERLIN, NOON_MS, seconds=True) == "13:00:09"
    assert words.clock(NOON_MS - 86_391_000, BERLIN, NOON_MS, seconds=True) == "yesterday 13:00:09"


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("rate(1 minute)", "every minute"),
        ("rate(5 minutes)", "every 5 minutes"),
        ("cron(0 2 * * ? *)", "at 02:00 UTC"),
        ("cron(0,30 2,14 * * ? *)", "at 02:00, 02:30, 14:00 and 14:30 UTC"),
        ("cron(0/15 8-18 ? * MON-FRI *)", "every 15 minutes from 08:00 to 18:59 UTC from Monday to Friday"),
        ("cron(* 3 * * ? *)", "every minute from 03:00 to 03:59 UTC"),
        ("cron(0 * * * ? *)", "every hour"),
        ("cron(15,45 * * * ? *)", "hourly at :15 and :45"),
        ("cron(5 8-18 * * ? *)", "hourly at :05 from 08 to 18 UTC"),
        ("cron(0 0/6 * * ? *)", "every 6 hours at :00 UTC"),
        ("cron(0 2 1,15 * ? *)", "at 02:00 UTC on day 1 and 15 of the month"),
        ("cron(0 10 ? * 6#3 *)", "at 10:00 UTC on the third Friday of the month"),
        (
            "cron(0 10 ? JAN,7 2L 2027)",
            "at 10:00 UTC on the last Monday of the month in January and July in 2027",
        ),
        ("cron(0 10 LW * ? *)", "at 10:00 UTC on the last weekday of the month"),
        ("cron(7/3 1 * * ? *)", "cron(7/3 1 * * ? *)"),
        ("cron(0 10 3W * ? *)", "cron(0 10 3W * ? *)"),
        ("at(2026-12-24T18:00:00)", "once, on 2026-12-24 at 18:00 UTC"),
        ("at(2026-12-24T18:00:30)", "once, on 2026-12-24 at 18:00:30 UTC"),
        ("at(soon)", "at(soon)"),
    ],
)
def test_a_schedule_is_said_in_words_or_as_it_is(expression: str, said: str) -> None:
    assert words.schedule(expression) == said


@pytest.mark.parametrize(
    ("ms", "lasted", "away"),
    [
        (0, "0 ms", "now"),
        (640, "640 ms", "now"),
        (3_210, "3.2 s", "in 3 s"),
        (59_999, "59 s", "in 59 s"),
        (61_000, "1 min 1 s", "in 1 min"),
        (3_600_000, "1 h", "in 1 h"),
        (183_900_000, "2 d 3 h", "in 2 d"),
    ],
)
def test_a_duration_has_at_most_two_units(ms: int, lasted: str, away: str) -> None:
    assert words.duration(ms) == lasted
    assert words.distance(ms) == away
    assert words.distance(-ms) == (away if away == "now" else f"{away.removeprefix('in ')} ago")


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("2026-11-24T13:05:00Z", "14:05"),
        ("2026-11-24T22:59:59Z", "23:59"),
        ("2026-11-24T23:00:00Z", "tomorrow 00:00"),
        ("2026-11-22T23:30:00Z", "yesterday 00:30"),
        ("2026-12-07T01:00:00Z", "Mon 7 Dec 02:00"),
        ("2025-11-24T01:00:00Z", "24 Nov 2025 02:00"),
    ],
)
def test_a_time_is_said_as_people_say_it(time: str, said: str) -> None:
    assert words.clock(ms_of_iso(time), BERLIN, NOON_MS) == said


def test_an_exact_time_names_its_zone() -> None:
    assert words.exact(NOON_MS, BERLIN) == "2026-11-24 13:00:00 CET"
    assert words.exact(NOON_MS, ZoneInfo("America/Sao_Paulo")) == "2026-11-24 09:00:00 UTC-03:00"
    assert words.exact(10**18, UTC).startswith("2200-01-01")


@pytest.mark.parametrize("text", [None, "", "soon", "2026-13-01T00:00:00Z"])
def test_what_is_no_time_is_none(text: str | None) -> None:
    assert words.ms_of(text) is None


def run(started: str, lasted_ms: int | None, status: str = "success", job_name: str = "nightly") -> Execution:
    at_ms = ms_of_iso(started)
    execution: Execution = {
        "service_name": "billing",
        "job_name": job_name,
        "job_guid": "g",
        "execution_id": f"{job_name}-{at_ms}",
        "status": status,  # type: ignore[typeddict-item]
        "scheduled_time": started,
        "scheduled_time_ms": at_ms,
        "started_at_ms": at_ms,
    }
    if lasted_ms is not None:
        execution |= {"finished_at_ms": at_ms + lasted_ms, "duration_ms": lasted_ms}
    return execution


def test_days_go_from_yesterday_to_tomorrow() -> None:
    runs = [
        run("2026-11-23T00:00:00Z", 86_400_000),
        run("2026-11-24T11:00:00Z", None, "running", "reindex"),
        run("2026-11-20T00:00:00Z", 1000, job_name="old"),
        run("2026-11-22T23:00:00Z", 7_200_000, "fail", "late-night"),
    ]
    days = timeline.days(
        runs, [timeline.Tick("billing", "nightly", ms_of_iso("2026-11-25T12:00:00Z"))], UTC, NOON_MS
    )

    assert [lane.job_name for lane in days.lanes] == ["late-night", "reindex", "nightly"]
    late, reindex, nightly = (lane.marks for lane in days.lanes)
    assert [late[0].left, late[0].width] == pytest.approx([0, 100 / 72], abs=0.01)
    assert reindex[0].left + reindex[0].width == pytest.approx(50)
    assert [(mark.kind, round(mark.left)) for mark in nightly] == [("success", 0), ("tick", 83)]
    assert days.now == 50
    assert [line.label for line in days.grid if line.is_day] == ["yesterday", "today", "tomorrow"]


def test_a_day_of_another_length_is_as_wide_as_it_lasts() -> None:
    """On 2026-10-25 the clocks of Berlin go back, so that day has 25 hours."""
    days = timeline.days([], [], BERLIN, ms_of_iso("2026-10-25T12:00:00Z"))

    starts = [line.left for line in days.grid if line.is_day]
    assert [round(73 * each / 100) for each in starts] == [0, 24, 49]


def test_more_jobs_than_lanes_are_counted() -> None:
    runs = [run("2026-11-24T01:00:00Z", 1, job_name=f"job-{number}") for number in range(40)]
    days = timeline.days(runs, [], UTC, NOON_MS)

    assert (len(days.lanes), days.left_out) == (timeline.MAX_LANES, 40 - timeline.MAX_LANES)
    assert all(mark.width > 0 for lane in days.lanes for mark in lane.marks)


def test_durations_stand_from_old_to_new_and_are_as_high_as_long() -> None:
    chart = timeline.durations(
        [
            run("2026-11-24T03:00:00Z", 0, "skipped"),
            run("2026-11-24T02:00:00Z", 500),
            run("2026-11-24T01:00:00Z", 1000),
        ],
        UTC,
        NOON_MS,
    )

    assert [(bar.kind, bar.height) for bar in chart.bars] == [
        ("success", 120),
        ("success", 60),
        ("skipped", 3),
    ]
    assert chart.longest_ms == 1000
    assert timeline.durations([], UTC, NOON_MS).bars == []
