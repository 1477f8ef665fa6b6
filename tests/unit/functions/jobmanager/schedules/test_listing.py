"""list_schedules, and the limit of unique schedules."""

import json
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from functions.list_schedules.handler import handler as list_handler
from functions.put_job.handler import handler as put_job
from jobmanager.aws.clients import dynamodb, events
from jobmanager.core.errors import BadRequest, ScheduleLimitReached
from jobmanager.jobs import changes
from jobmanager.jobs import update as update_job
from jobmanager.schedules import counts as schedules
from jobmanager.schedules import rules
from jobmanager.schedules.limit import nearest, put_schedule
from jobmanager.schedules.listing import list_schedules
from jobmanager.schedules.trigger_kind import trigger_name
from tests.unit.functions.examples import NOON_MS, api_event, lambda_context, save_job

NIGHTLY, HOURLY = "cron(0 2 * * ? *)", "rate(1 hour)"
needs_the_cloud = pytest.mark.usefixtures("cloud")


def body_of(answer: dict[str, Any], status: int = 200) -> dict[str, Any]:
    assert answer["statusCode"] == status, answer
    body: dict[str, Any] = json.loads(answer["body"])
    return body


# List


def use(schedule: str, job_name: str = "nightly", with_rule: bool = True) -> None:
    save_job(job_name, schedule=schedule)
    if with_rule:
        rules.put(schedule)


def plain(schedule: str, job_count: int, times: list[str] | None) -> dict[str, Any]:
    """A schedule in UTC without bounds, as it is listed in a stage that has rules for such ones."""
    return {
        "schedule_key": schedule,
        "schedule": schedule,
        "time_zone": "UTC",
        "trigger_type": "rule",
        "job_count": job_count,
        "rule": "in step",
        "next_fire_times": times,
    }


@needs_the_cloud
def test_each_schedule_in_use_is_listed_once_with_its_jobs_and_times() -> None:
    use(NIGHTLY, "a")
    use(NIGHTLY, "b")
    use(HOURLY, "c")
    use("cron(0 0 1 1 ? 2027)", "d")
    use("rate(2 hours)", "e")
    changes.delete("billing", "e", "ann", NOON_MS)
    assert list_schedules({}, NOON_MS) == {
        "results": [
            plain("cron(0 0 1 1 ? 2027)", 1, ["2027-01-01T00:00:00Z"]),
            plain(NIGHTLY, 2, [f"2026-11-{day}T02:00:00Z" for day in (24, 25, 26)]),
            plain(HOURLY, 1, None),
        ],
        "paging": {},
        "schedule_count": 3,
        "rule_count": 3,
        "schedule_limit": 300,
    }


@needs_the_cloud
def test_the_list_shows_rules_that_are_missing_disabled_or_different() -> None:
    client = boto3.client("events")
    for number, change in enumerate(("nothing", "delete", "disable", "replace"), 1):
        schedule = f"rate({number + 1} minutes)"
        name = trigger_name(schedule)
        use(schedule, change, with_rule=change != "delete")
        if change == "disable":
            client.disable_rule(Name=name)
        if change == "replace":
            client.put_rule(Name=name, ScheduleExpression="rate(9 days)")
    states = [each["rule"] for each in list_schedules({}, NOON_MS)["results"]]
    assert states == ["in step", "missing", "disabled", "different"]


@needs_the_cloud
def test_all_pages_of_schedules_together_are_the_whole_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "_PAGE", 2)
    wanted = [f"cron({minute} 0 * * ? *)" for minute in range(10, 17)]
    for number, schedule in enumerate(wanted):
        use(schedule, f"job-{number}", with_rule=False)
    changes.delete("billing", "job-3", "ann", NOON_MS)
    found: list[str] = []
    query = {"limit": "2"}
    for expected in (2, 2, 2):
        page = list_schedules(query, NOON_MS)
        assert len(page["results"]) == expected
        assert page["schedule_count"] == 6
        found += [each["schedule"] for each in page["results"]]
        query["more"] = page["paging"].get("more", "")
    assert query["more"] == ""
    assert found == [schedule for number, schedule in enumerate(wanted) if number != 3]


@needs_the_cloud
@pytest.mark.parametrize(
    "query",
    [{"limit": "0"}, {"more": "?"}, {"more": ""}, {"more": "eyJhZnRlciI6IiJ9"}, {"service_name": "billing"}],
)
def test_an_invalid_query_for_schedules_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        list_schedules(query, NOON_MS)
    assert body_of(list_handler(api_event(query=query), lambda_context()), 400)["errors"]


@needs_the_cloud
def test_a_stage_without_jobs_has_no_schedules() -> None:
    assert body_of(list_handler(api_event(), lambda_context())) == {
        "results": [],
        "paging": {},
        "schedule_count": 0,
        "rule_count": 0,
        "schedule_limit": 300,
    }


# Limit


@needs_the_cloud
def test_a_schedule_over_the_limit_is_a_conflict_that_suggests_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCHEDULE_LIMIT", "2")
    put_schedule(NIGHTLY, NOON_MS)
    use(NIGHTLY, "a")
    put_schedule(HOURLY, NOON_MS)
    use(HOURLY, "b")
    with pytest.raises(ScheduleLimitReached) as refused:
        put_schedule("cron(0 3 * * ? *)", NOON_MS)
    assert "the 2 that this stage may have" in refused.value.detail
    assert refused.value.extra == {"limit": 2, "nearest_schedules": [NIGHTLY, HOURLY]}
    assert rules.state("cron(0 3 * * ? *)") == "missing"
    put_schedule(NIGHTLY, NOON_MS)


@needs_the_cloud
def test_a_schedule_that_no_job_uses_any_more_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULE_LIMIT", "1")
    use(NIGHTLY, "a")
    with pytest.raises(ScheduleLimitReached):
        put_schedule(HOURLY, NOON_MS)
    changes.delete("billing", "a", "ann", NOON_MS)
    assert schedules.count() == 0
    put_schedule(HOURLY, NOON_MS)


@needs_the_cloud
def test_schedules_on_all_pages_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        use(f"rate({number + 2} minutes)", f"job-{number}", with_rule=False)
    query = dynamodb().query
    monkeypatch.setattr(dynamodb(), "query", lambda **how: query(**how, Limit=2))
    assert schedules.count() == 5


@needs_the_cloud
def test_reaching_the_accounts_quota_is_the_same_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    use(NIGHTLY, "a")

    def refuse(**_: Any) -> None:
        raise events().exceptions.LimitExceededException(
            {"Error": {"Code": "LimitExceededException"}}, "PutRule"
        )

    monkeypatch.setattr(events(), "put_rule", refuse)
    with pytest.raises(ScheduleLimitReached) as refused:
        put_schedule(HOURLY, NOON_MS)
    assert "EventBridge allows this account" in refused.value.detail
    assert refused.value.extra == {"nearest_schedules": [NIGHTLY]}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        # First those that fire as often, at the nearest times. Then the rate, whose times are unknown. Then
        # those that fire more or less often.
        (
            "cron(0 3 * * ? *)",
            [NIGHTLY, "cron(0 22 * * ? *)", "rate(1 day)", "cron(0 2,14 * * ? *)", "cron(0 2 ? * SUN *)"],
        ),
        ("rate(45 minutes)", [HOURLY, "cron(0 2,14 * * ? *)", NIGHTLY, "cron(0 22 * * ? *)", "rate(1 day)"]),
        (
            "cron(0 0 1 1 ? 2100)",
            ["cron(0 0 1 1 ? *)", "cron(0 2 ? * SUN *)", NIGHTLY, "cron(0 22 * * ? *)", "rate(1 day)"],
        ),
    ],
)
def test_the_suggested_schedules_fire_about_as_often_and_at_near_times(
    wanted: str, expected: list[str]
) -> None:
    existing = [
        "rate(1 day)",
        HOURLY,
        "cron(0 2 ? * SUN *)",
        "cron(0 22 * * ? *)",
        "cron(0 2,14 * * ? *)",
        NIGHTLY,
        "cron(0 0 1 1 ? *)",
    ]
    assert nearest(wanted, existing, NOON_MS) == expected
    assert nearest(wanted, [], NOON_MS) == []


def test_a_put_answers_with_the_refusal_of_a_step_of_its_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UPDATE_JOB_STATE_MACHINE_ARN", "arn")
    refusal = ScheduleLimitReached("full", limit=300, nearest_schedules=[NIGHTLY])
    ended = {"status": "SUCCEEDED", "output": json.dumps({"refusal": refusal.document()})}
    machine = SimpleNamespace(start_sync_execution=lambda **_: ended)
    monkeypatch.setattr(update_job, "synchronous_step_functions", lambda: machine)
    event = api_event("PUT", body="{}", service_name="billing", job_name="nightly")
    assert body_of(put_job(event, lambda_context()), 409) == {
        "type": "/problems/schedule-limit",
        "title": ScheduleLimitReached.title,
        "status": 409,
        "detail": "full",
        **refusal.extra,
    }


def test_a_put_answers_503_while_lambda_connects_a_function_to_its_vpc(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UPDATE_JOB_STATE_MACHINE_ARN", "arn")
    ended = {"status": "FAILED", "error": "Lambda.ResourceNotReadyException", "cause": "…"}
    machine = SimpleNamespace(start_sync_execution=lambda **_: ended)
    monkeypatch.setattr(update_job, "synchronous_step_functions", lambda: machine)
    event = api_event("PUT", body="{}", service_name="billing", job_name="nightly")
    assert "VPC" in body_of(put_job(event, lambda_context()), 503)["detail"]
