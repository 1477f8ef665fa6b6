"""A job's whole life in a stage that has rules, and in one that has EventBridge Scheduler for everything."""

from typing import Any

import boto3
import pytest

from jobmanager.aws.clients import events
from jobmanager.aws.clients import scheduler as scheduler_client
from jobmanager.jobs.deletion import delete_job
from jobmanager.jobs.pausing import pause_job, resume_job
from jobmanager.jobs.update import save_change
from jobmanager.jobs.validation import validate
from jobmanager.schedules import counts
from jobmanager.schedules.limit import put_schedule
from jobmanager.schedules.triggers import settle_all
from tests.unit.functions.examples import NOON_MS

pytestmark = pytest.mark.usefixtures("cloud")

RATE, NIGHTLY = "rate(5 minutes)", "cron(0 2 * * ? *)"


@pytest.fixture(autouse=True, params=["rule", "scheduler"])
def trigger_type(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    kind: str = request.param
    monkeypatch.setenv("TRIGGER_TYPE", kind)
    return kind


def put(job_name: str, schedule: str, **more: Any) -> None:
    """Takes the steps of the machine for a PUT."""
    body = {"schedule": schedule, "invocation_type": "sns", **more}
    change = {"service_name": "billing", "job_name": job_name, "job": body, "updated_by": "ann"}
    valid = validate(change)
    put_schedule(valid["job"]["schedule"], NOON_MS)
    settle_all(save_change(valid, NOON_MS)["schedules"])


def fired_for(trigger_type: str) -> set[str]:
    """The schedules that have triggers of a type; the other type must have none."""
    rules = {rule["ScheduleExpression"] for rule in boto3.client("events").list_rules()["Rules"]}
    client = boto3.client("scheduler")
    names = [schedule["Name"] for schedule in client.list_schedules()["Schedules"]]
    schedules = {client.get_schedule(Name=name)["ScheduleExpression"] for name in names}
    found, others = (rules, schedules) if trigger_type == "rule" else (schedules, rules)
    assert others == set()
    return found


def test_the_triggers_follow_the_jobs(trigger_type: str) -> None:
    put("a", RATE)
    put("b", RATE)
    assert fired_for(trigger_type) == {RATE}
    put("b", NIGHTLY)
    assert fired_for(trigger_type) == {RATE, NIGHTLY}
    pause_job("billing", "a", {"reason": "maintenance"}, "ann", NOON_MS)
    assert fired_for(trigger_type) == {NIGHTLY}
    resume_job("billing", "a", "ann", NOON_MS)
    assert fired_for(trigger_type) == {RATE, NIGHTLY}
    put("b", NIGHTLY, enabled=False)
    delete_job("billing", "a", "ann", NOON_MS)
    delete_job("billing", "b", "ann", NOON_MS)
    assert fired_for(trigger_type) == set()
    assert list(counts.all_items()) == []


def test_a_put_that_leaves_the_schedule_does_not_restart_a_rate(
    trigger_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("a", RATE)
    for client, names in (
        (events(), ("put_rule", "put_targets")),
        (scheduler_client(), ("create_schedule", "update_schedule")),
    ):
        for name in names:
            monkeypatch.setattr(client, name, lambda **_: pytest.fail("its rate would restart"))
    put("a", RATE, payload="other")
    put("b", RATE)
    assert fired_for(trigger_type) == {RATE}
