"""pause_job and resume_job: a paused job does not run, and its rule is kept only while it is needed."""

import json
from typing import Any

import boto3
import pytest

from functions.pause_job.handler import handler as pause_handler
from functions.resume_job.handler import handler as resume_handler
from jobmanager.core.clock import iso, now_ms
from jobmanager.executions.begin import begin
from jobmanager.jobs import changes
from jobmanager.jobs import store as jobs
from jobmanager.schedules import counts as schedules
from jobmanager.schedules.triggers import settle
from tests.unit.functions.examples import NOON_MS, api_event, due, lambda_context, save_job

pytestmark = pytest.mark.usefixtures("cloud")
SCHEDULE = "rate(5 minutes)"
HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def job(cloud: object) -> None:
    save_job()
    settle(SCHEDULE)


def call(handler: Any, body: Any = None) -> tuple[int, dict[str, Any]]:
    text = None if body is None else json.dumps(body)
    event = api_event("POST", text, service_name="billing", job_name="nightly")
    answer = handler(event, lambda_context())
    return answer["statusCode"], json.loads(answer["body"])


def rules() -> int:
    return len(boto3.client("events").list_rules()["Rules"])


def test_a_pause_without_until_releases_the_rule_and_resuming_restores_it() -> None:
    status, job = call(pause_handler, {"reason": "migration"})
    assert (status, job["paused"]["reason"], rules()) == (200, "migration", 0)
    assert job["paused"]["paused_by"].endswith(":user/ann")
    assert begin(due(), NOON_MS)["reason"] == {
        "code": "job_paused",
        "detail": "the job is paused: migration",
    }
    status, job = call(resume_handler)
    assert (status, "paused" in job, rules()) == (200, False, 1)
    assert schedules.job_count(SCHEDULE) == 1


def test_a_pause_with_until_ends_by_itself() -> None:
    until = now_ms() // 1000 * 1000 + HOUR_MS
    _, job = call(pause_handler, {"reason": "migration", "until": iso(until)})
    assert (job["paused"]["until"], rules()) == (iso(until), 1)
    early, late = due(at_ms=until - 1000), due(at_ms=until)
    assert begin(early, until - 1000)["status"] == "skipped"
    assert begin(late, until)["status"] == "running"


def test_a_pause_may_be_changed_and_repeated() -> None:
    call(pause_handler, {"reason": "migration"})
    before = call(pause_handler, {"reason": "migration"})[1]
    assert call(pause_handler, {"reason": "migration"})[1] == before
    later = {"reason": "migration", "until": iso(now_ms() + HOUR_MS)}
    assert call(pause_handler, later)[1]["version"] == before["version"] + 1
    assert rules() == 1
    call(pause_handler, {"reason": "migration"})
    assert (rules(), schedules.job_count(SCHEDULE)) == (0, 0)


def test_resuming_an_active_or_disabled_job_adds_no_rule() -> None:
    before = jobs.read("billing", "nightly")
    assert call(resume_handler)[0] == 200
    assert jobs.read("billing", "nightly") == before
    save_job(enabled=False)
    settle(SCHEDULE)
    call(pause_handler, {"reason": "r"})
    call(resume_handler)
    assert rules() == 0


def test_a_put_keeps_the_pause_and_a_deletion_ends_it() -> None:
    call(pause_handler, {"reason": "migration"})
    save_job(payload="new")
    assert jobs.read("billing", "nightly")["paused"]["reason"] == "migration"
    assert schedules.job_count(SCHEDULE) == 0
    changes.delete("billing", "nightly", "ann", NOON_MS)
    save_job()
    assert "paused" not in jobs.read("billing", "nightly")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/reason"),
        ({"reason": ""}, "/reason"),
        ({"reason": "r", "until": "tomorrow"}, "/until"),
        ({"reason": "r", "until": "2020-01-01T00:00:00Z"}, "/until"),
        ({"reason": "r", "for": "1h"}, "/for"),
    ],
)
def test_an_invalid_pause_is_refused_with_a_pointer(body: Any, pointer: str) -> None:
    status, answer = call(pause_handler, body)
    assert (status, [error["pointer"] for error in answer["errors"]]) == (400, [pointer])


def test_a_deleted_job_can_be_neither_paused_nor_resumed() -> None:
    changes.delete("billing", "nightly", "ann", NOON_MS)
    assert call(pause_handler, {"reason": "r"})[0] == 404
    assert call(resume_handler)[0] == 404
