from typing import Any, cast

import pytest

from jobmanager.jobs.definition import OVERLAPS, Job, job_view, overlap, workflow_type
from jobmanager.jobs.validation import definition, job_errors, validate

MINIMAL = {
    "schedule": "rate(5 minutes)",
    "invocation_type": "http",
    "invocation_target": "https://a.example/x",
}


def pointers(body: Any) -> list[str]:
    return [error["pointer"] for error in job_errors(body)]


def test_a_minimal_job_gets_the_defaults() -> None:
    assert job_errors(MINIMAL) == []
    assert definition(MINIMAL, "topic") == {
        "schedule": "rate(5 minutes)",
        "invocation_type": "http",
        "invocation_target": "https://a.example/x",
        "payload": "",
        "async": True,
        "enabled": True,
        "exclusive": False,
        "ttl_seconds": 300,
        "max_duration_seconds": 86_400,
        "catch_up": "none",
    }


def test_only_a_webhook_job_can_be_sync() -> None:
    body = {"schedule": "rate(60 minutes)", "invocation_type": "sns", "async": False}
    assert [error["pointer"] for error in job_errors(body)] == ["/async"]


def test_a_sync_job_gets_the_longest_ttl_by_default() -> None:
    body = {
        "schedule": "rate(1 hour)",
        "invocation_type": "http",
        "invocation_target": "https://billing.example/",
        "async": False,
        "max_duration_seconds": 61,
    }
    assert job_errors(body) == []
    assert definition(body, "the-topic")["ttl_seconds"] == 60
    assert definition({**body, "ttl_seconds": 20}, "the-topic")["ttl_seconds"] == 20


def test_an_sns_job_without_a_target_goes_to_the_notifications_topic() -> None:
    body = {"schedule": "rate(60 minutes)", "invocation_type": "sns"}
    assert job_errors(body) == []
    job = definition(body, "the-topic")
    assert (job["invocation_target"], job["schedule"]) == ("the-topic", "rate(1 hour)")


@pytest.mark.parametrize(
    ("change", "pointer", "detail"),
    [
        ({"schedule": None}, "/schedule", "expected string"),
        ({"schedule": "rate(5 minute)"}, "/schedule", "rate(5 minutes)"),
        ({"invocation_type": "mail"}, "/invocation_type", '"http", "sns"'),
        ({"invocation_target": "billing/jobs"}, "/invocation_target", "has no scheme"),
        ({"invocation_target": "ftp://a.example"}, "/invocation_target", "neither https nor http"),
        (
            {"invocation_target": "https://u:p@a.example"},
            "/invocation_target",
            "has a user name or a password",
        ),
        (
            {"invocation_target": "https://a.example:99999/"},
            "/invocation_target",
            "host or port is not valid",
        ),
        ({"invocation_type": "sns"}, "/invocation_target", "ARN of a standard SNS topic"),
        ({"ttl_seconds": 9}, "/ttl_seconds", "at least 10"),
        ({"ttl_seconds": 43_201}, "/ttl_seconds", "at most 43200"),
        ({"ttl_seconds": "300"}, "/ttl_seconds", "expected integer"),
        ({"ttl_seconds": True}, "/ttl_seconds", "expected integer"),
        ({"heartbeat_interval_seconds": 301}, "/heartbeat_interval_seconds", "at most ttl_seconds, 300"),
        ({"heartbeat_interval_seconds": 4}, "/heartbeat_interval_seconds", "at least 5"),
        ({"catch_up": "some"}, "/catch_up", "none"),
        ({"catch_up_window_seconds": 60}, "/catch_up_window_seconds", "unless catch_up is all"),
        (
            {"catch_up": "one", "catch_up_window_seconds": 60},
            "/catch_up_window_seconds",
            "unless catch_up is all",
        ),
        ({"catch_up": "all", "catch_up_window_seconds": 59}, "/catch_up_window_seconds", "at least 60"),
        (
            {"catch_up": "all", "catch_up_window_seconds": 2_592_001},
            "/catch_up_window_seconds",
            "at most 2592000",
        ),
        ({"overlap": "replace"}, "/overlap", '"queue_one", "queue_all", "cancel_running"'),
        ({"overlap": True}, "/overlap", '"allow"'),
        (
            {"overlap": "allow", "exclusive": True},
            "/overlap",
            "expected skip or queue_one or queue_all or cancel_running if exclusive is true, or no exclusive",
        ),
        (
            {"overlap": "queue_one", "exclusive": False},
            "/overlap",
            "expected allow if exclusive is false, or no exclusive",
        ),
        ({"exclusive": "no", "overlap": "skip"}, "/exclusive", "expected boolean"),
        ({"spread_seconds": -1}, "/spread_seconds", "at least 0"),
        ({"spread_seconds": 3601}, "/spread_seconds", "at most 3600"),
        ({"spread_seconds": "60"}, "/spread_seconds", "expected integer"),
        ({"starting_deadline_seconds": 0}, "/starting_deadline_seconds", "at least 1"),
        ({"starting_deadline_seconds": 86_401}, "/starting_deadline_seconds", "at most 86400"),
        ({"pause_after_failures": 0}, "/pause_after_failures", "at least 1"),
        ({"pause_after_failures": 101}, "/pause_after_failures", "at most 100"),
        ({"pause_after_failures": "3"}, "/pause_after_failures", "expected integer"),
        ({"warn_after_seconds": 9}, "/warn_after_seconds", "at least 10"),
        ({"warn_after_seconds": 86_400}, "/warn_after_seconds", "less than max_duration_seconds, 86400"),
        (
            {"warn_after_seconds": 400, "max_duration_seconds": 400},
            "/warn_after_seconds",
            "less than max_duration_seconds, 400",
        ),
        ({"max_duration_seconds": 300}, "/max_duration_seconds", "more than ttl_seconds, 300"),
        ({"max_duration_seconds": 2_592_001}, "/max_duration_seconds", "at most 2592000"),
        ({"payload": {"foo": "bar"}}, "/payload", "expected string"),
        ({"payload": "ü" * 16_385}, "/payload", "at most 32768 bytes"),
        ({"enabled": "yes"}, "/enabled", "expected boolean"),
        ({"async": "no"}, "/async", "expected boolean"),
        ({"async": False, "ttl_seconds": 61}, "/ttl_seconds", "at most 60 if async is false"),
        ({"async": False, "heartbeat_interval_seconds": 5}, "/heartbeat_interval_seconds", "no such field"),
        ({"test_invocation": 1}, "/test_invocation", "expected boolean"),
        ({"owner": ""}, "/owner", "at least 1 characters"),
        ({"tags": {"team": 1}}, "/tags/team", "expected string"),
        ({"retries": 3}, "/retries", "unknown field"),
        ({"a/b~": 3}, "/a~1b~0", "unknown field"),
    ],
)
def test_each_invalid_field_is_named(change: dict[str, Any], pointer: str, detail: str) -> None:
    errors = job_errors(MINIMAL | change)
    assert [error["pointer"] for error in errors] == [pointer]
    assert detail in errors[0]["detail"]


def test_a_stage_without_spread_refuses_a_spread_job_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert job_errors(MINIMAL | {"spread_seconds": 600}) == []
    monkeypatch.setenv("SPREAD", "false")
    (error,) = job_errors(MINIMAL | {"spread_seconds": 600})
    assert error["pointer"] == "/spread_seconds"
    assert "this stage cannot spread jobs, because its Terraform variable spread is false" in error["detail"]
    assert job_errors(MINIMAL | {"spread_seconds": 0}) == []


def test_what_catch_up_all_and_spread_leave_out_has_defaults() -> None:
    assert definition(MINIMAL | {"catch_up": "all"}, "topic")["catch_up_window_seconds"] == 86_400
    assert "catch_up_window_seconds" not in definition(MINIMAL | {"catch_up": "one"}, "topic")
    assert definition(MINIMAL | {"spread_seconds": 60}, "topic")["spread_seconds"] == 60
    assert "spread_seconds" not in definition(MINIMAL | {"spread_seconds": 0}, "topic")


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ({}, {"exclusive": False}),
        ({"exclusive": True}, {"exclusive": True}),
        ({"overlap": "allow"}, {"exclusive": False}),
        ({"overlap": "allow", "exclusive": False}, {"exclusive": False}),
        ({"overlap": "skip"}, {"exclusive": True}),
        ({"overlap": "skip", "exclusive": True}, {"exclusive": True}),
        ({"overlap": "queue_one"}, {"exclusive": True, "overlap": "queue_one"}),
        ({"overlap": "queue_all", "exclusive": True}, {"exclusive": True, "overlap": "queue_all"}),
        ({"overlap": "cancel_running"}, {"exclusive": True, "overlap": "cancel_running"}),
    ],
)
def test_exclusive_says_whether_there_is_a_lock_and_overlap_only_what_it_does_not_say(
    fields: dict[str, Any], stored: dict[str, Any]
) -> None:
    assert job_errors(MINIMAL | fields) == []
    job = definition(MINIMAL | fields, "topic")
    assert {name: value for name, value in job.items() if name in ("exclusive", "overlap")} == stored
    shown = "skip" if fields == {"exclusive": True} else fields.get("overlap", "allow")
    assert overlap(job) == shown


@pytest.mark.parametrize("kind", OVERLAPS)
def test_a_job_is_shown_with_its_overlap_and_can_be_put_as_it_is_shown(kind: str) -> None:
    names = {"service_name": "billing", "job_name": "nightly", "job_key": "billing/nightly"}
    job = definition(MINIMAL | {"overlap": kind}, "topic")
    shown = job_view(cast(Job, {**job, **names}), 0)
    assert (shown["overlap"], shown["exclusive"]) == (kind, kind != "allow")
    again = MINIMAL | {name: shown[name] for name in ("overlap", "exclusive")}
    assert job_errors(again) == []
    assert definition(again, "topic") == job


@pytest.mark.parametrize("missing", ["schedule", "invocation_type", "invocation_target"])
def test_a_missing_field_is_named(missing: str) -> None:
    body = {name: value for name, value in MINIMAL.items() if name != missing}
    assert pointers(body) == [f"/{missing}"]


def test_all_invalid_fields_are_reported_at_once() -> None:
    body = MINIMAL | {"schedule": "now", "ttl_seconds": 1, "colour": "red"}
    assert pointers(body) == ["/colour", "/ttl_seconds", "/schedule"]


@pytest.mark.parametrize("body", [None, [], "job", 1])
def test_a_body_that_is_not_an_object_is_refused(body: Any) -> None:
    assert pointers(body) == [""]


def test_a_topic_in_another_region_is_refused_by_the_name_of_the_region() -> None:
    body = {"schedule": "rate(1 hour)", "invocation_type": "sns"}
    here, there = (f"arn:aws:sns:{region}:111122223333:billing" for region in ("us-east-1", "eu-central-1"))
    assert job_errors({**body, "invocation_target": here}) == []
    (error,) = job_errors({**body, "invocation_target": there})
    assert error["pointer"] == "/invocation_target"
    assert error["detail"] == "expected a topic in us-east-1, the region of this stage, not in eu-central-1"


@pytest.mark.parametrize("named", ["standard", "express"])
def test_a_job_may_name_its_workflow_type(named: str) -> None:
    body = {**MINIMAL, "workflow_type": named}
    assert job_errors(body) == []
    assert definition(body, "topic")["workflow_type"] == named


@pytest.mark.parametrize("value", ["Express", "EXPRESS", "", "fast", None, True, 1, ["express"]])
def test_no_other_workflow_type_is_accepted(value: Any) -> None:
    assert pointers({**MINIMAL, "workflow_type": value}) == ["/workflow_type"]


@pytest.mark.parametrize("default", ["standard", "express"])
def test_a_job_without_a_workflow_type_gets_that_of_the_stage(
    monkeypatch: pytest.MonkeyPatch, default: str
) -> None:
    def valid(**fields: Any) -> Any:
        names = {"service_name": "billing", "job_name": "nightly"}
        return validate({**names, "job": {**MINIMAL, **fields}, "updated_by": "ann"})["job"]["workflow_type"]

    monkeypatch.setenv("DEFAULT_WORKFLOW_TYPE", default)
    assert valid() == default
    assert [valid(workflow_type=named) for named in ("standard", "express")] == ["standard", "express"]


def test_a_job_of_an_earlier_version_is_shown_and_run_as_standard() -> None:
    job = cast(Job, {"service_name": "billing", "job_name": "nightly", "exclusive": True})
    assert job_view(job, 0)["overlap"] == "skip"
    assert workflow_type(job) == job_view(job, 0)["workflow_type"] == "standard"
    assert workflow_type({**job, "workflow_type": "express"}) == "express"
