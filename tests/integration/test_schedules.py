"""Schedules are previewed, and those in use are listed with their rules."""

import secrets
from typing import Any

import pytest

from jobmanager.core.clock import ms_of_iso, now_ms
from local.api_client import ManagerApi, path_of
from tests.integration.polling import poll
from tests.integration.scenario import Scenario

PREVIEW = path_of("schedules", "preview")


def listed(api: ManagerApi, schedule: str) -> dict[str, Any] | None:
    """The schedule's entry in the list of all pages, or None."""
    query = {"limit": "100"}
    while True:
        answer = api.request("GET", path_of("schedules"), query=query)
        assert answer.status == 200, answer
        for result in answer.body["results"]:
            if result["schedule"] == schedule:
                found: dict[str, Any] = result
                return found
        if "more" not in answer.body["paging"]:
            return None
        query["more"] = answer.body["paging"]["more"]


def test_a_schedule_is_previewed_in_canonical_form(api: ManagerApi) -> None:
    answer = api.request("GET", PREVIEW, query={"schedule": "cron(0 02 ? * fri#2 *)", "count": "12"})
    assert answer.status == 200, answer
    assert answer.body["schedule"] == "cron(0 2 ? * FRI#2 *)"
    times = [ms_of_iso(text) for text in answer.body["fire_times"]]
    assert len(times) == 12
    assert times == sorted(times)
    assert times[0] > now_ms() - 60_000


def test_a_preview_of_an_invalid_schedule_names_the_field(api: ManagerApi) -> None:
    for query, pointer in (({"schedule": "cron(0 2 * * * *)"}, "/schedule"), ({}, "/schedule")):
        answer = api.request("GET", PREVIEW, query=query)
        assert answer.status == 400, answer
        assert [error["pointer"] for error in answer.body["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("days", "is_accepted"),
    [
        # What https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-cron-expressions.html lists.
        ("1-15 {} ?", True),
        ("1/10 {} ?", True),
        ("L {} ?", True),
        ("3W {} ?", True),
        ("? {} L", True),
        ("? {} 3#2", True),
        ("? {} 6L", True),
        # What it leaves open.
        ("LW {} ?", True),
        ("? {} FRI-MON", True),
        ("? {} MON-FRI/2", True),
        ("L-1 {} ?", False),
        ("L-3 {} ?", False),
        ("? {} L-2", False),
        # What it forbids.
        ("? {} 3#1,6#3", False),
        ("* {} *", False),
        ("32 {} ?", False),
    ],
)
def test_a_preview_accepts_a_schedule_if_and_only_if_a_job_can_be_saved_with_it(
    scenario: Scenario, days: str, is_accepted: bool
) -> None:
    _, _, _, month, _, year = scenario.schedule.split()
    schedule = f"cron(0 0 {days.format(month)} {year}"
    previewed = scenario.api.request("GET", PREVIEW, query={"schedule": schedule})
    saved = scenario.put("a", expected=(201, 400), schedule=schedule)
    assert (previewed.status, saved.status) == ((200, 201) if is_accepted else (400, 400))
    if not is_accepted:
        assert previewed.body["errors"] == saved.body["errors"]


def test_a_schedule_is_listed_with_its_jobs_and_its_rule(scenario: Scenario) -> None:
    scenario.put("a")
    scenario.put("b")
    preview = scenario.api.request("GET", PREVIEW, query={"schedule": scenario.schedule, "count": "3"})
    assert listed(scenario.api, scenario.schedule) == {
        "schedule_key": scenario.schedule,
        "schedule": scenario.schedule,
        "time_zone": "UTC",
        "trigger_type": "rule",
        "job_count": 2,
        "rule": "in step",
        "next_fire_times": preview.body["fire_times"],
    }
    (rule,) = scenario.rules()

    def disabled() -> bool:
        scenario.aws.client("events").disable_rule(Name=rule["Name"])
        found = listed(scenario.api, scenario.schedule)
        return found is not None and found["rule"] == "disabled"

    # A test of the reconciler may enable it again in between.
    assert poll(disabled, 10, "the rule, disabled")
    scenario.delete("a")
    scenario.delete("b")
    assert listed(scenario.api, scenario.schedule) is None


def test_a_put_warns_of_a_schedule_that_never_fires_and_of_a_rate_that_is_in_use(scenario: Scenario) -> None:
    never = "cron(0 0 31 2 ? *)"
    saved = scenario.put("never", schedule=never).body
    assert saved["warnings"] == [{"code": "never_fires", "detail": f"{never} never fires again"}]
    rate = f"rate({secrets.randbelow(100_000) + 100_000} minutes)"
    assert "warnings" not in scenario.put("first", schedule=rate).body
    (warning,) = scenario.put("second", schedule=rate).body["warnings"]
    assert warning["code"] == "shared_rate"
    assert "warnings" not in scenario.job("second")


def test_the_full_syntax_is_accepted_by_eventbridge(scenario: Scenario) -> None:
    for fields in (
        "0 0 LW 1 ? 2199",
        "0 0 15W JAN-MAR ? 2199",
        "0/30 20-2 ? 1 FRI#2 2199",
        "0 0 ? 1 6L 2199",
    ):
        schedule = f"cron({fields})"
        scenario.put("a", schedule=schedule)
        assert (listed(scenario.api, schedule) or {})["rule"] == "in step"
    scenario.delete("a")
