"""Rules match a large number of jobs, also after many of them changed."""

import random
from typing import Any

import boto3
import pytest

from jobmanager.aws.items import to_item
from jobmanager.core.names import job_guid
from jobmanager.jobs import events as job_events
from jobmanager.jobs import store as jobs
from jobmanager.jobs.deletion import delete_job
from jobmanager.jobs.update import save_change
from jobmanager.jobs.validation import definition
from jobmanager.schedules import counts as schedules
from jobmanager.schedules.limit import put_schedule
from jobmanager.schedules.triggers import settle_all
from tests.exhaustive import cases
from tests.unit.functions.examples import NOON_MS

pytestmark = pytest.mark.usefixtures("cloud")
JOBS, MOVED = cases(200, 1000), cases(50, 300)
SCHEDULES = [f"rate({minutes} minutes)" for minutes in range(2, 22)]
NEW_SCHEDULES = [f"cron({minute} 2 * * ? *)" for minute in range(5)]


@pytest.fixture(autouse=True)
def without_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns off the events of jobs, which other tests check."""
    monkeypatch.setattr(job_events, "publish_pending", lambda _: True)
    monkeypatch.setattr(job_events, "pending_after_publishing", lambda _: [])


def put(job_name: str, schedule: str, **fields: Any) -> None:
    """Makes a PUT by the state machine's steps, without the validation."""
    defined = definition({"schedule": schedule, "invocation_type": "sns", **fields}, "topic")
    if defined["enabled"]:
        put_schedule(schedule, NOON_MS)
    change = {"service_name": "billing", "job_name": job_name, "job": defined, "updated_by": "ann"}
    settle_all(save_change(change, NOON_MS)["schedules"])


def copy_job(job_name: str, copies: list[str]) -> None:
    """Copies a job in the tables, which is faster than many PUTs."""
    job = jobs.read("billing", job_name)
    client = boto3.client("dynamodb")
    for name in copies:
        keys = {"job_name": name, "job_key": f"billing/{name}", "job_guid": job_guid("billing", name)}
        client.put_item(TableName="jobs", Item=to_item(job | keys))
    client.update_item(
        TableName="schedules",
        Key=to_item({"stage": "test", "schedule": job["schedule"]}),
        UpdateExpression="ADD job_count :more",
        ExpressionAttributeValues=to_item({":more": len(copies)}),
    )


def rule_schedules() -> list[str]:
    pages = boto3.client("events").get_paginator("list_rules").paginate()
    return sorted(rule["ScheduleExpression"] for page in pages for rule in page["Rules"])


@pytest.mark.samples
def test_rules_match_a_thousand_jobs_before_and_after_many_changes() -> None:
    chance = random.Random(20)
    where = {f"job-{number}": SCHEDULES[number % 20] for number in range(JOBS)}
    for schedule in SCHEDULES:
        first, second, *others = (name for name, has in where.items() if has == schedule)
        put(first, schedule)
        put(second, schedule)
        copy_job(first, others)
    settle_all(SCHEDULES)
    assert [schedules.job_count(schedule) for schedule in SCHEDULES] == [JOBS // 20] * 20
    assert rule_schedules() == sorted(SCHEDULES)

    # All jobs of three schedules change, and some other jobs.
    emptied = SCHEDULES[:3]
    leaving = [name for name, schedule in where.items() if schedule in emptied]
    others = chance.sample(sorted(where.keys() - set(leaving)), MOVED - len(leaving))
    for name in leaving + others:
        match chance.choice(("moves", "moves", "is new", "is disabled", "is deleted")):
            case "moves":
                where[name] = chance.choice(SCHEDULES[3:])
                put(name, where[name])
            case "is new":
                where[name] = chance.choice(NEW_SCHEDULES)
                put(name, where[name])
            case "is disabled":
                put(name, where.pop(name), enabled=False)
            case _:
                del where[name]
                delete_job("billing", name, "ann", NOON_MS)

    in_use = sorted(set(where.values()))
    assert in_use == sorted([*SCHEDULES[3:], *NEW_SCHEDULES])
    assert rule_schedules() == in_use
    counted = dict(schedules.in_use())
    assert counted == {each: list(where.values()).count(each) for each in in_use}
