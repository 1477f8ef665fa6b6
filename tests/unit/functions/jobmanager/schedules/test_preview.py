"""preview_schedule."""

import json
from typing import Any

import pytest

from functions.get_openapi.handler import openapi
from functions.preview_schedule.handler import handler as preview_handler
from tests.unit.functions.examples import NOON_MS, api_event, lambda_context

NIGHTLY, HOURLY = "cron(0 2 * * ? *)", "rate(1 hour)"
BERLIN = {"time_zone": "Europe/Berlin"}
MARCH = {"from": "2027-03-27T00:00:00Z"}


def body_of(answer: dict[str, Any], status: int = 200) -> dict[str, Any]:
    assert answer["statusCode"] == status, answer
    body: dict[str, Any] = json.loads(answer["body"])
    return body


def preview(status: int = 200, /, **query: str) -> dict[str, Any]:
    return body_of(preview_handler(api_event(query=query), lambda_context()), status)


def test_a_preview_has_the_canonical_form_and_the_next_times() -> None:
    found = preview(schedule="cron( 0 02 1 jan ? 2190/1 )")
    assert found["schedule"] == "cron(0 2 1 JAN ? 2190/1)"
    assert found["fire_times"] == [f"{year}-01-01T02:00:00Z" for year in range(2190, 2200)]


def test_a_preview_has_the_requested_number_of_times_or_all_there_are() -> None:
    assert len(preview(schedule=NIGHTLY)["fire_times"]) == 10
    assert len(preview(schedule=NIGHTLY, count="100")["fire_times"]) == 100
    assert len(preview(schedule=HOURLY, count="1")["fire_times"]) == 1
    assert preview(schedule="cron(0 0 30 2 ? *)")["fire_times"] == []


def test_a_preview_of_a_rate_says_from_which_moment_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.preview_schedule.handler.now_ms", lambda: NOON_MS)
    found = preview(schedule=HOURLY, count="1")
    assert (found["counted_from"], found["fire_times"]) == ("2026-11-23T12:00:00Z", ["2026-11-23T13:00:00Z"])
    assert "counted_from" not in preview(schedule=NIGHTLY)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({}, "/schedule"),
        ({"schedule": ""}, "/schedule"),
        ({"schedule": "cron(0 2 * * * *)"}, "/schedule"),
        ({"schedule": NIGHTLY, "count": "0"}, "/count"),
        ({"schedule": NIGHTLY, "count": "101"}, "/count"),
        ({"schedule": NIGHTLY, "count": "ten"}, "/count"),
        ({"schedule": NIGHTLY, "counts": "1"}, "/counts"),
        ({"schedule": "at(2026-12-24T18:00:00Z)"}, "/schedule"),
        ({"schedule": NIGHTLY, "time_zone": ""}, "/time_zone"),
        ({"schedule": NIGHTLY, "time_zone": "Europe/Berln"}, "/time_zone"),
        ({"schedule": NIGHTLY, "from": "now"}, "/from"),
        ({"schedule": NIGHTLY, "from": "2027-03-27"}, "/from"),
        ({"schedule": "rate(1 minute)", "from": "1969-12-31T23:59:59Z", "time_zone": "US/Alaska"}, "/from"),
        ({"schedule": NIGHTLY, "from": "2200-01-01T00:00:00Z"}, "/from"),
        ({"schedule": NIGHTLY, "start_at": "0"}, "/start_at"),
        ({"schedule": NIGHTLY, "end_at": "2027-02-30T00:00:00Z"}, "/end_at"),
        (
            {"schedule": NIGHTLY, "start_at": "2027-01-01T00:00:00Z", "end_at": "2027-01-01T00:59:59+01:00"},
            "/end_at",
        ),
        (
            {"schedule": NIGHTLY, "start_at": "2027-01-01T02:00:00Z", "end_at": "2027-01-01T03:00:00+01:00"},
            "/end_at",
        ),
    ],
)
def test_an_invalid_preview_request_is_refused_with_a_pointer(query: dict[str, str], pointer: str) -> None:
    (error,) = preview(400, **query)["errors"]
    assert error["pointer"] == pointer
    assert error["detail"]


# Time zones and bounds


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.preview_schedule.handler.now_ms", lambda: NOON_MS)


@pytest.mark.usefixtures("noon")
def test_the_examples_of_the_openapi_document_are_answers() -> None:
    path = openapi("https://manager.example", "1")["paths"]["/schedules/preview"]["get"]
    examples = path["responses"]["200"]["content"]["application/json"]["examples"]
    given = {
        "daily": {"schedule": NIGHTLY, "count": "2"},
        "gap": {"schedule": "cron(30 2 * * ? *)", **BERLIN, **MARCH, "count": "2"},
    }
    assert {name: preview(**query) for name, query in given.items()} == {
        name: example["value"] for name, example in examples.items()
    }


@pytest.mark.usefixtures("noon")
def test_a_preview_goes_by_the_clock_of_the_time_zone_and_marks_what_it_skips() -> None:
    found = preview(schedule="cron(30 2 28-29 3 ? 2027)", time_zone="europe/BERLIN")
    assert found == {
        "schedule": "cron(30 2 28-29 3 ? 2027)",
        "time_zone": "Europe/Berlin",
        "fire_times": ["2027-03-29T00:30:00Z"],
        "times": [
            {"local": "2027-03-28T02:30:00+01:00", "utc": "2027-03-28T01:30:00Z", "skipped": True},
            {"local": "2027-03-29T02:30:00+02:00", "utc": "2027-03-29T00:30:00Z", "skipped": False},
        ],
    }


@pytest.mark.usefixtures("noon")
def test_a_schedule_whose_times_are_all_skipped_fills_no_list_without_end() -> None:
    found = preview(schedule="cron(* 2 ? 3 SUNL *)", **BERLIN, count="100")
    assert found["fire_times"] == []
    assert len(found["times"]) == 100


@pytest.mark.usefixtures("noon")
def test_a_preview_takes_a_schedule_that_fires_once() -> None:
    found = preview(schedule="at(2026-12-24T18:00:00)", **BERLIN)
    assert (found["schedule"], found["fire_times"]) == ("at(2026-12-24T18:00:00)", ["2026-12-24T17:00:00Z"])
    assert "counted_from" not in found
    assert preview(schedule="at(2026-11-23T12:00:00)")["fire_times"] == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        # Without `from`, after now. With it, from then on.
        ({"schedule": "cron(0 12 * * ? *)"}, "2026-11-24T12:00:00Z"),
        ({"schedule": "cron(0 12 * * ? *)", "from": "2026-11-23T13:00:00+01:00"}, "2026-11-23T12:00:00Z"),
        ({"schedule": HOURLY}, "2026-11-23T13:00:00Z"),
        ({"schedule": HOURLY, "from": "2026-11-23T12:30:00Z"}, "2026-11-23T13:30:00Z"),
        # Both bounds are moments at which it may fire.
        ({"schedule": NIGHTLY, "start_at": "2027-01-01T02:00:00Z"}, "2027-01-01T02:00:00Z"),
        ({"schedule": NIGHTLY, "start_at": "2027-01-01T02:00:00.001Z"}, "2027-01-02T02:00:00Z"),
        ({"schedule": NIGHTLY, "end_at": "2026-11-24T02:00:00Z"}, "2026-11-24T02:00:00Z"),
        ({"schedule": NIGHTLY, "end_at": "2026-11-24T01:59:59Z"}, None),
        ({"schedule": NIGHTLY, "end_at": "0001-01-01T00:00:00Z"}, None),
        ({"schedule": NIGHTLY, "start_at": "9999-12-31T23:59:59Z"}, None),
        ({"schedule": NIGHTLY, "start_at": "0001-01-01T00:00:00Z"}, "2026-11-24T02:00:00Z"),
        # A rate is counted from its start, and fires there.
        ({"schedule": HOURLY, "start_at": "2026-11-23T10:20:00Z"}, "2026-11-23T12:20:00Z"),
        ({"schedule": HOURLY, "start_at": "2027-01-01T02:00:00Z"}, "2027-01-01T02:00:00Z"),
        ({"schedule": HOURLY, "start_at": "2026-11-23T10:00:00Z"}, "2026-11-23T13:00:00Z"),
        (
            {"schedule": HOURLY, "start_at": "2026-11-23T10:00:00Z", "from": "2026-11-23T12:00:00Z"},
            "2026-11-23T12:00:00Z",
        ),
        ({"schedule": HOURLY, "end_at": "2026-11-23T12:59:59Z"}, None),
        ({"schedule": HOURLY, "start_at": "9999-12-31T23:59:59Z"}, None),
        ({"schedule": "rate(1 minute)", "start_at": "0001-01-01T00:00:30Z"}, "2026-11-23T12:00:30Z"),
        # AWS ignores bounds of a schedule that fires once. Here they hold.
        ({"schedule": "at(2026-12-24T18:00:00)", "end_at": "2026-12-24T18:00:00Z"}, "2026-12-24T18:00:00Z"),
        ({"schedule": "at(2026-12-24T18:00:00)", "end_at": "2026-12-24T17:59:59Z"}, None),
        ({"schedule": "at(2026-12-24T18:00:00)", "start_at": "2026-12-24T18:00:01Z"}, None),
    ],
)
@pytest.mark.usefixtures("noon")
def test_the_first_time_of_a_preview_is_within_its_bounds(
    query: dict[str, str], expected: str | None
) -> None:
    found = preview(**query, count="1")
    assert found["fire_times"] == ([] if expected is None else [expected])
    assert [each["utc"] for each in found["times"]] == found["fire_times"]


@pytest.mark.usefixtures("noon")
def test_a_rate_says_that_it_is_counted_from_its_start() -> None:
    start = "2026-11-23T10:20:00Z"
    assert preview(schedule=HOURLY, start_at=start, **MARCH)["counted_from"] == start
    assert preview(schedule=HOURLY, **MARCH)["counted_from"] == MARCH["from"]


@pytest.mark.parametrize("zone", ["Etc/GMT+12", "Pacific/Kiritimati", "Africa/Monrovia", "America/New_York"])
@pytest.mark.parametrize("schedule", ["rate(1 minute)", "cron(* * * * ? *)", "at(1970-01-01T00:00:00)"])
def test_the_first_and_the_last_moment_have_a_preview(zone: str, schedule: str) -> None:
    for moment in ("1970-01-01T00:00:00Z", "2199-12-31T23:59:59Z"):
        found = preview(**{"schedule": schedule, "time_zone": zone, "from": moment, "count": "100"})
        assert len(found["fire_times"]) <= 100
