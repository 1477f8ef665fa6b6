"""The events of executions say how they ended and whose job it was, within bounds and without secrets."""

import json
from typing import Any

import pytest
from botocore.client import BaseClient

from jobmanager.callbacks.token import callback_url, new_secret
from jobmanager.core.names import execution_id, job_guid
from jobmanager.core.redaction import redacted
from jobmanager.executions.begin import begin, begin_and_publish
from jobmanager.executions.settle import machine_output
from jobmanager.jobs import changes
from tests.unit.functions.examples import NOON_MS, due, end_as, finish, save_job, stored
from tests.unit.functions.published import Events, subscribe

pytestmark = pytest.mark.usefixtures("cloud")

CONTROL = "\x01"
# SNS bills a message by parts of 64 KB, and takes four of them.
ONE_PART_BYTES = 64 * 1024


@pytest.fixture
def published(cloud: object) -> Events:
    """Returns the events about executions, in order, that were published since the last call."""
    receive = subscribe()
    return lambda: [event for event in receive() if "execution_id" in event]


def run(status: str, result: dict[str, Any], at_ms: int = NOON_MS) -> None:
    execution = machine_output(begin(due(at_ms=at_ms), at_ms))
    end_as(execution, status, result, at_ms + 1)
    finish(execution, at_ms + 2)


def outcome(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event[name] for name in ("error", "cause", "fault", "summary", "owner") if name in event}


@pytest.mark.parametrize(
    ("status", "result", "expected"),
    [
        ("success", {"summary": "7 done", "state": "x"}, {"summary": "7 done"}),
        ("fail", {"error": "Closed", "summary": "why"}, {"error": "Closed", "summary": "why"}),
        ("fail", {"error": {"name": "Closed", "customer": "ann"}}, {"error": "Closed"}),
        ("fail", {"error": {"customer": "ann"}}, {"error": "Job.Fail"}),
        ("fail", {"error": "x" * 300}, {"error": "x" * 255 + "…", "cause": "x" * 300}),
        ("fail", {"error": "States.No"}, {"error": "Job.Fail", "cause": "States.No"}),
        ("timeout", {"error": "Job.Timeout", "cause": "slow"}, {"error": "Job.Timeout", "cause": "slow"}),
        (
            "fail",
            {"error": "Manager.NoOutcome", "cause": "c", "fault": "manager"},
            {"error": "Manager.NoOutcome", "cause": "c", "fault": "manager"},
        ),
        ("cancelled", {"cause": "cancelled by ann"}, {"cause": "cancelled by ann"}),
    ],
)
def test_the_event_of_an_end_says_how_and_whose(
    published: Events, status: str, result: dict[str, Any], expected: dict[str, Any]
) -> None:
    save_job(owner="team-billing")
    run(status, result)

    (event,) = published()
    assert outcome(event) == {**expected, "owner": "team-billing"}
    assert event["status"] == status


def test_the_events_of_a_streak_say_how_the_last_execution_ended_and_whose_job_it_is(
    published: Events,
) -> None:
    save_job(owner="team-billing", alert_after_failures=1)
    run("timeout", {"error": "Job.Timeout", "cause": "no result", "summary": "half"})
    run("success", {"summary": "again"}, NOON_MS + 60_000)

    failing, recovered = (event for event in published() if event["event"].startswith("job."))
    assert (failing["event"], failing["status"]) == ("job.failing", "timeout")
    assert outcome(failing) == {
        "error": "Job.Timeout",
        "cause": "no result",
        "summary": "half",
        "owner": "team-billing",
    }
    assert (recovered["event"], recovered["status"]) == ("job.recovered", "success")
    assert outcome(recovered) == {"summary": "again", "owner": "team-billing"}


def test_the_events_of_a_failure_say_when_the_job_last_succeeded(published: Events) -> None:
    save_job(alert_after_failures=1)
    run("fail", {"error": "Closed"})
    run("success", {}, NOON_MS + 60_000)
    run("fail", {"error": "Closed"}, NOON_MS + 120_000)

    told = [
        (event["event"], event["finished_at_ms"], event.get("last_succeeded_at_ms"))
        for event in published()
        if "finished_at_ms" in event
    ]
    assert told == [
        ("job.failing", NOON_MS + 1, None),
        ("execution.failed", NOON_MS + 1, None),
        ("job.recovered", NOON_MS + 60_001, None),
        ("execution.succeeded", NOON_MS + 60_001, None),
        ("job.failing", NOON_MS + 120_001, NOON_MS + 60_001),
        ("execution.failed", NOON_MS + 120_001, NOON_MS + 60_001),
    ]


def test_a_deleted_jobs_last_execution_still_names_the_owner(published: Events) -> None:
    save_job(owner="team-billing")
    execution = machine_output(begin(due(), NOON_MS))
    changes.delete("billing", "nightly", "ann", NOON_MS)
    end_as(execution, "fail", {"error": "Closed"}, NOON_MS + 1)
    finish(execution, NOON_MS + 2)

    assert outcome(published()[-1]) == {"error": "Closed", "owner": "team-billing"}


def test_the_owner_costs_no_further_read(monkeypatch: pytest.MonkeyPatch) -> None:
    save_job(owner="team-billing")
    execution = machine_output(begin(due(), NOON_MS))
    end_as(execution, "fail", {"error": "Closed"}, NOON_MS + 1)
    calls: list[tuple[str, str]] = []
    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def recorded(client: BaseClient, operation: str, parameters: Any) -> Any:
        calls.append((operation, parameters.get("TableName", "")))
        return call(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", recorded)
    finish(execution, NOON_MS + 2)

    assert calls == [
        ("GetItem", "executions"),
        ("UpdateItem", "jobs"),
        ("Publish", ""),
        ("UpdateItem", "executions"),
    ]


@pytest.mark.parametrize("at_attempt", [1, 2])
def test_no_callback_token_webhook_secret_or_password_is_published(
    published: Events, at_attempt: int
) -> None:
    save_job(alert_after_failures=1)
    secret = new_secret(at_attempt)
    url = callback_url("https://manager.example/callback", stored_id(), secret)
    result = {
        "error": f"POST {url} failed",
        "cause": f"POST {url}?a=b, signed with whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "summary": f"see https://ann:hunter2@billing.example/, and {url}",
    }
    run("fail", result)

    for event in published():
        text = json.dumps(event)
        assert secret.rpartition(".")[2] not in text
        assert "hunter2" not in text
        assert "MfKQ9r8" not in text
        assert event["summary"].startswith("see https://…@billing.example/, and https://manager.example/")
        assert event["error"] == f"POST https://manager.example/callback/{stored_id()}.… failed"


def stored_id() -> str:
    return execution_id(job_guid("billing", "nightly"), NOON_MS)


def test_what_looks_like_no_secret_stays() -> None:
    text = f"{stored_id()} failed. See https://billing.example/a@b and {stored_id()}. Then retry."
    assert redacted(text) == text


def test_control_characters_cannot_outgrow_a_message(published: Events) -> None:
    save_job(owner=CONTROL * 256, alert_after_failures=1)
    result = {
        "error": CONTROL * 32_000,
        "cause": CONTROL * 32_000,
        "summary": "\ufffe" * 341,
        "correlation_id": CONTROL * 256,
    }
    run("fail", result)

    events = published()
    assert [event["event"] for event in events] == ["job.failing", "execution.failed"]
    for event in events:
        assert len(json.dumps(event).encode()) < ONE_PART_BYTES
        assert (len(event["error"]), len(event["cause"]), len(event["summary"])) == (256, 1024, 341)


def test_a_running_execution_has_no_outcome_to_publish(published: Events) -> None:
    save_job(owner="team-billing")
    record = begin_and_publish(due(), NOON_MS)

    (event,) = published()
    assert (event["event"], outcome(event)) == ("execution.started", {})
    assert stored(record)["status"] == "running"
