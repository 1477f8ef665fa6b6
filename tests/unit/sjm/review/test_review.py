"""The review of jobs as a person reads it."""

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from jobmanager.schedules.preview import preview_schedule
from sjm.review.fire_times import FireTimes, fire_times
from sjm.review.neighbours import SchedulesInUse
from sjm.review.review import Review, Reviewed, reviews
from sjm.review.text import lines_of, summary
from tests.unit.sjm.review.test_difference import saved
from tests.unit.sjm.review.test_fields import JOB
from tests.unit.sjm.small_stage import NOW_MS

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "cli.md").read_text()
TODAY = date(2026, 11, 29)
DAILY = "cron(0 2 * * ? *)"
WORKDAYS = {**JOB, "schedule": "cron(0 2 ? * MON-FRI *)"}


def previewed(job: Mapping[str, Any]) -> FireTimes:
    names = ("schedule", "time_zone", "start_at", "end_at")
    return fire_times(preview_schedule({name: job[name] for name in names if name in job}, NOW_MS))


def reviewed(*jobs: Reviewed, counts: dict[str, int] | None = None) -> list[Review]:
    in_use = None if counts is None else SchedulesInUse(counts)
    return reviews(jobs, previewed, in_use, TODAY)


def text(*jobs: Reviewed, counts: dict[str, int] | None = None) -> list[str]:
    return [line.text for review in reviewed(*jobs, counts=counts) for line in lines_of(review)]


def test_a_change_is_shown_as_the_page_has_it() -> None:
    [example] = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    nightly = Reviewed("billing/nightly", WORKDAYS, saved(owner="team-billing"))
    found = reviewed(nightly, counts={DAILY: 12, "cron(0 * * * ? *)": 5, "rate(5 minutes)": 3})

    shown = [line.text for line in [*lines_of(found[0]), summary(found)]]
    assert shown == example.splitlines()


def test_a_new_job_and_one_that_goes() -> None:
    shown = text(
        Reviewed("billing/new", {**JOB, "schedule": "cron(0/30 8-9 * * ? *)"}, None),
        Reviewed("billing/old", None, saved()),
        counts={DAILY: 1},
    )

    assert shown[0] == "+ billing/new is new"
    assert "08:30, 09:00, 09:30, [22 hours 30 minutes later] Tue 2026-12-01 08:00" in shown[4]
    assert shown[5:] == [
        "    beside: 0 other jobs in the minute of 2026-11-30 08:00 UTC",
        "    costs: about $0.0079 a month, about 121.7 executions",
        "    note: its workflow_type will be the stage's default; the price is that of Standard",
        "- billing/old is deleted",
        "    costs: about $0.0020 → $0.00 a month, about 0 executions",
    ]


def test_jobs_that_are_changed_together_count_each_other() -> None:
    jobs = [Reviewed(f"billing/{number}", WORKDAYS, None) for number in range(3)]

    assert [review.neighbours and review.neighbours.jobs for review in reviewed(*jobs, counts={})] == [
        2,
        2,
        2,
    ]


def test_a_job_in_a_time_zone_fires_by_its_clock_and_skips_what_the_clock_skips() -> None:
    weekly = {**JOB, "schedule": "cron(30 2 ? * SUN *)", "time_zone": "Europe/Berlin"}
    start = {**weekly, "start_at": "2027-03-14T00:00:00Z"}
    [found] = reviewed(Reviewed("billing/weekly", start, saved()), counts={})
    lines = [(line.kind, line.text) for line in lines_of(found)]

    assert ("detail", "    time_zone: none → Europe/Berlin") in lines
    fires = next(text for kind, text in lines if kind == "warning" and "fires" in text)
    assert fires.startswith(
        "    fires (Europe/Berlin): Sun 2027-03-14 02:30, Sun 2027-03-21 02:30, [14 days"
    ) or fires.startswith("    fires (Europe/Berlin): Sun 2027-03-14 02:30, Sun 2027-03-21 02:30, [13 days")
    assert ("warning", "    skips Sun 2027-03-28 02:30: the clocks go forward over it") in lines
    assert ("detail", "    beside: 0 other jobs in the minute of 2027-03-14 01:30 UTC") in lines
    document = found.document()
    assert document["fire_times"][0] == {"at": "2027-03-14T01:30:00Z", "local": "2027-03-14T02:30:00+01:00"}
    assert document["skipped_times"] == ["2027-03-28T02:30:00+01:00"]


def test_a_completed_job_counts_on_no_schedule_until_it_fires_again() -> None:
    completed = {**saved(schedule="at(2026-01-01T00:00:00)"), "completed_at": "2026-01-01T00:20:00Z"}
    job = Reviewed("billing/once", WORKDAYS, completed)

    assert (job.leaves(), job.enters()) == (None, WORKDAYS["schedule"])


def test_a_job_that_never_fires_is_a_warning() -> None:
    never = {**JOB, "schedule": "cron(0 0 31 2 ? *)"}
    [found] = reviewed(Reviewed("billing/never", never, None), counts={})

    assert ("warning", "    fires: never again, by cron(0 0 31 2 ? *)") in [
        (line.kind, line.text) for line in lines_of(found)
    ]
    assert found.document()["never_fires"] is True


def test_a_job_that_does_not_fire_says_why_and_has_no_neighbours() -> None:
    paused = {
        **saved(),
        "paused": {"reason": "audit", "paused_at": "2026-11-01T00:00:00Z", "paused_by": "ann"},
    }
    disabled, still_paused = reviewed(
        Reviewed("billing/disabled", {**JOB, "enabled": False}, saved()),
        Reviewed("billing/paused", WORKDAYS, paused),
        counts={DAILY: 5},
    )

    assert disabled.notes == ["it is not enabled, so it does not fire"]
    assert still_paused.notes == ["it is paused until somebody resumes it"]
    assert disabled.neighbours is still_paused.neighbours is None
    assert disabled.after and disabled.after.dollars == 0

    until = {**paused, "paused": {**paused["paused"], "until": "2026-12-01T07:00:00+01:00"}}
    [with_an_end] = reviewed(Reviewed("billing/paused", WORKDAYS, until), counts={DAILY: 5})
    assert with_an_end.notes == ["it is paused until 2026-12-01 06:00:00 UTC"]


def test_what_is_not_known_is_left_out() -> None:
    [found] = reviews([Reviewed("billing/nightly", WORKDAYS, saved())], lambda job: None, None, TODAY)

    assert (found.fires, found.neighbours) == (None, None)
    assert [line.text for line in lines_of(found)][2:] == [
        "    costs: about $0.0020 → $0.0014 a month, about 21.7 executions"
    ]


def test_a_job_that_stays_is_counted_in_the_summary_only() -> None:
    found = reviewed(
        Reviewed("billing/nightly", JOB, saved()), Reviewed("billing/new", WORKDAYS, None), counts={}
    )

    assert list(lines_of(found[0])) == []
    assert found[0].document() == {"job": "billing/nightly", "action": "none"}
    assert summary(found).text == "Jobs: 1 to create, 1 as wanted. In all about +$0.0014 a month."
    assert summary([found[0]]).text == "Jobs: 1 as wanted."


def test_text_of_others_cannot_act_on_a_terminal() -> None:
    old = saved(description="\x1b[2J\u202eevil\x9b1m")

    assert all(line.isprintable() for line in text(Reviewed("billing/nightly", WORKDAYS, old), counts={}))


def test_a_document_has_everything() -> None:
    [found] = reviewed(Reviewed("billing/nightly", WORKDAYS, saved(owner="ann")), counts={DAILY: 1})
    document: dict[str, Any] = found.document()

    assert document["changes"] == [
        {"field": "schedule", "old": DAILY, "new": WORKDAYS["schedule"], "reset": False},
        {"field": "owner", "old": "ann", "new": None, "reset": True},
    ]
    assert document["neighbours"] == {"minute": "2026-11-30T02:00Z", "jobs": 0, "maybe": 0, "at_least": False}
    assert document["monthly"] == {
        "before": {"executions": 30.4, "dollars": 0.002},
        "after": {"executions": 21.7, "dollars": 0.0014},
    }
    assert len(document["fire_times"]) == 10
