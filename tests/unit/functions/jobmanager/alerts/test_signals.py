"""Which messages are problems, which end them, and what a person is told of them."""

import json
from typing import Any

import pytest

from jobmanager.alerts.signals import MAX_WHY_CHARACTERS, GroupBy, Signal, shortened, signal_in
from tests.unit.functions.examples import NOON_MS
from tests.unit.functions.jobmanager.alerts.published import FAILED, alarm, event, failure

LINK = "http://127.0.0.1:8765/jobs/{service_name}/{job_name}/executions/{execution_id}"


def read(body: str, problems: list[str] = FAILED, group_by: GroupBy = "service") -> Signal:
    signal = signal_in(body, problems, group_by, LINK)
    assert signal is not None
    return signal


def test_a_failure_tells_why_who_owns_the_job_and_when_it_last_succeeded() -> None:
    signal = read(failure(last_succeeded_at_ms=NOON_MS - 86_400_000))

    assert (signal.group, signal.subject, signal.at_ms) == ("service billing", "billing/nightly", NOON_MS)
    assert signal.facts == {
        "what": "failed",
        "why": "LedgerClosed: the ledger of November is closed",
        "owner": "team-billing",
        "last_success_ms": NOON_MS - 86_400_000,
        "link": f"http://127.0.0.1:8765/jobs/billing/nightly/executions/billing-nightly-{NOON_MS}",
    }


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (event("execution.timed_out", error="Job.Timeout"), "timed out"),
        (event("job.failing", consecutive_failures=3, alert_after_failures=3), "failed 3 times in a row"),
        (event("execution.late"), "runs longer than expected"),
        (event("job.paused", updated_by="manager"), "was paused by the manager"),
        (event("job.paused", updated_by="arn:aws:iam::111122223333:user/ann"), "was paused"),
        (
            event("job.orphaned", parent="invoices"),
            "does not run any more, because invoices, after which it runs, was deleted",
        ),
        (event("job.unheard_of"), "has the event job.unheard_of"),
    ],
)
def test_each_problem_has_its_words(body: str, what: str) -> None:
    assert read(body, [json.loads(body)["event"]]).facts["what"] == what


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"warn_after_seconds": 600}, "It has run for more than 600 seconds."),
        (
            {"warn_after_seconds": 600, "progress": 37.5},
            "It has run for more than 600 seconds, and has reported 37.5%.",
        ),
    ],
)
def test_a_late_execution_tells_since_when_it_is_late_and_how_far_it_is(
    fields: dict[str, Any], why: str
) -> None:
    assert read(event("execution.late", **fields), ["execution.late"]).facts["why"] == why


@pytest.mark.parametrize(
    ("body", "how"),
    [
        (event("execution.succeeded"), "succeeded"),
        (event("job.recovered"), "succeeded"),
        (event("job.deleted"), "was deleted"),
        (event("job.paused"), "was paused"),
        (event("job.completed"), "will not run again"),
        (event("job.updated", enabled=False), "was disabled"),
        (alarm("OK"), "is OK"),
    ],
)
def test_each_end_says_how_a_problem_ended(body: str, how: str) -> None:
    assert read(body).ended == how


@pytest.mark.parametrize(
    "body",
    [
        event("execution.started"),
        event("execution.skipped"),
        event("job.updated", enabled=True),
        event("job.created"),
        alarm("INSUFFICIENT_DATA"),
        json.dumps({"event": "schedule.missed", "occurred_at": "2026-11-23T12:00:00Z", "schedule": "x"}),
        event("execution.failed", occurred_at="noon", finished_at_ms=None),
        json.dumps({"AlarmName": "mine"}),
        alarm("ALARM", StateChangeTime="yesterday"),
        "[]",
        "no JSON",
    ],
)
def test_other_messages_are_no_signals(body: str) -> None:
    assert signal_in(body, FAILED, "service", None) is None


def test_a_pause_by_the_manager_ends_no_problem() -> None:
    """Nobody has seen to the job, which fails and now does not even run."""
    reason = "3 failures in a row, the last one in 97cc; pause_after_failures is 3"
    body = event("job.paused", updated_by="manager", paused={"code": "failures_in_a_row", "reason": reason})

    assert signal_in(body, FAILED, "service", None) is None
    signal = read(body, ["job.paused"])
    assert (signal.ended, signal.facts["why"]) == ("", reason)


def test_a_change_of_a_job_counts_to_the_end_of_its_second() -> None:
    """Its time has no fraction, so a failure of the same second must not seem later."""
    assert read(event("job.deleted", at_ms=NOON_MS + 400)).at_ms == NOON_MS + 999
    assert read(failure(at_ms=NOON_MS + 400)).at_ms == NOON_MS + 400


@pytest.mark.parametrize(
    ("group_by", "of_a_job", "of_an_alarm"),
    [
        ("route", "all", "all"),
        ("service", "service billing", "alarms"),
        ("job", "job billing/nightly", "alarm sjm-prod-late-ticks"),
    ],
)
def test_problems_are_grouped(group_by: GroupBy, of_a_job: str, of_an_alarm: str) -> None:
    assert read(failure(), group_by=group_by).group == of_a_job
    assert read(alarm("ALARM"), group_by=group_by).group == of_an_alarm
    assert read(alarm("OK"), group_by=group_by).group == of_an_alarm


def test_an_alarm_tells_what_to_do_and_links_its_page() -> None:
    signal = read(alarm("ALARM", NOON_MS + 123))

    assert (signal.subject, signal.at_ms) == ("sjm-prod-late-ticks", NOON_MS + 123)
    assert signal.facts == {
        "what": "is in alarm",
        "why": "Ticks wait before start_due_executions handles them.",
        "link": "https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1"
        "#alarmsV2:alarm/sjm-prod-late-ticks",
    }


def test_an_alarm_without_a_description_tells_the_reason_of_cloudwatch() -> None:
    assert read(alarm("ALARM", AlarmDescription=None)).facts["why"].startswith("Threshold Crossed")


@pytest.mark.parametrize(
    ("partition", "host"), [("aws-cn", "amazonaws.cn"), ("aws-us-gov", "amazonaws-us-gov")]
)
def test_the_page_of_an_alarm_is_in_the_console_of_its_partition(partition: str, host: str) -> None:
    arn = f"arn:{partition}:cloudwatch:cn-north-1:123456789012:alarm:x"
    assert f"cn-north-1.console.{host}" in read(alarm("ALARM", AlarmArn=arn)).facts["link"]


def test_names_in_a_link_are_encoded() -> None:
    body = failure(execution_id="a/../b?c")
    assert read(body).facts["link"].endswith("/executions/a%2F..%2Fb%3Fc")


@pytest.mark.parametrize("more", [{}, {"error": "E" * 256, "cause": "ü" * 1024}])
def test_a_text_is_one_short_line(more: dict[str, Any]) -> None:
    why = read(failure(summary="two\nlines\x00\t\u202eand more", **more)).facts["why"]
    assert len(why) <= MAX_WHY_CHARACTERS
    assert why.isprintable()


def test_a_cut_text_says_so() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"
