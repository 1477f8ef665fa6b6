"""Rules that were changed by hand are made right again, and what was missed meanwhile is told and caught up.

Other tests use the same stage meanwhile, so each looks at its own schedule only. The stage's clock is the
real one: what is missed is made so by moving the schedule's times back in its table.
"""

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer

from jobmanager.core.clock import iso, ms_of_iso
from local.api_client import path_of
from local.channels import QueueListener
from tests.integration.polling import poll
from tests.integration.scenario import Scenario

# Faults befall the same upkeep, whose work is not to be done by another run first.
pytestmark = pytest.mark.xdist_group("upkeep")

MINUTE_MS = 60_000


def reconcile(scenario: Scenario) -> dict[str, list[dict[str, Any]]]:
    """What a run on demand says of this scenario's schedule, or of its rule."""
    answer = scenario.api.request("POST", path_of("schedules", "reconcile"))
    assert answer.status == 200, answer
    return {
        name: [each for each in answer.body[name] if each["schedule"] == scenario.schedule]
        for name in ("changed", "missed")
    }


def remove(scenario: Scenario, name: str) -> None:
    events = scenario.aws.client("events")
    events.remove_targets(Rule=name, Ids=["start-due-executions"])
    events.delete_rule(Name=name)


@contextmanager
def events_told(scenario: Scenario) -> Iterator[list[dict[str, Any]]]:
    """What the events topic tells of this scenario's schedule."""
    told: list[dict[str, Any]] = []

    def note(event: dict[str, Any], _trace_header: str | None) -> None:
        told.extend([scenario.checked_event(event)] if event["schedule"] == scenario.schedule else [])

    wanted = {"event": ["schedule.reconciled", "schedule.missed"]}
    with QueueListener(scenario.outputs["events_topic_arn"], wanted, note, queue_name="told"):
        yield told


def set_back(scenario: Scenario, table: str, key: dict[str, str], name: str, at_ms: int) -> None:
    to = TypeSerializer().serialize
    scenario.aws.client("dynamodb").update_item(
        TableName=scenario.outputs[table],
        Key={field: to(value) for field, value in key.items()},
        UpdateExpression="SET #name = :at",
        ExpressionAttributeNames={"#name": name},
        ExpressionAttributeValues={":at": to(at_ms)},
    )


def test_a_rule_deleted_by_hand_is_back_after_one_run_and_that_is_told(scenario: Scenario) -> None:
    scenario.put("a")
    (rule,) = scenario.rules()
    with events_told(scenario) as told:
        remove(scenario, rule["Name"])
        # Another test may ask for a run just now, which then is the one that changes it.
        reconcile(scenario)
        poll(lambda: told, 20, "news of the rule")
    (again,) = scenario.rules()
    assert (again["Name"], again["State"]) == (rule["Name"], "ENABLED")
    (event,) = told
    expected = {"event": "schedule.reconciled", "schedule": scenario.schedule, "rule": rule["Name"]}
    expected |= {"done": "put"}
    assert event.pop("found") in ("missing", "different")  # such a run may come before it is quite gone
    assert {name: value for name, value in event.items() if name != "occurred_at"} == expected
    assert reconcile(scenario)["changed"] == []


def test_a_rule_that_is_disabled_or_points_elsewhere_is_made_right(scenario: Scenario) -> None:
    scenario.put("a")
    (rule,) = scenario.rules()
    events = scenario.aws.client("events")
    (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    for is_disabled_too in (False, True):
        if is_disabled_too:
            events.disable_rule(Name=rule["Name"])
        events.put_targets(Rule=rule["Name"], Targets=[{"Id": target["Id"], "Arn": target["Arn"]}])
        reconcile(scenario)
        assert scenario.rules()[0]["State"] == "ENABLED"
        assert events.list_targets_by_rule(Rule=rule["Name"])["Targets"] == [target]


def test_an_orphan_goes_and_a_rule_of_another_name_stays(scenario: Scenario) -> None:
    scenario.put("a")
    (rule,) = scenario.rules()
    scenario.delete("a")
    assert scenario.rules() == []
    events, foreign = scenario.aws.client("events"), f"other-{uuid.uuid4().hex}"
    for name in (rule["Name"], foreign):
        events.put_rule(Name=name, ScheduleExpression=scenario.schedule)
    try:
        reconcile(scenario)
        assert scenario.rules() == []
        assert events.describe_rule(Name=foreign)["ScheduleExpression"] == scenario.schedule
    finally:
        events.delete_rule(Name=foreign)


def test_missed_ticks_are_told_once_and_a_job_that_wants_it_is_started_for_the_latest(
    scenario: Scenario,
) -> None:
    # Twice a day, and half an hour from now at the nearest: it does not fire meanwhile.
    minute = (time.gmtime().tm_min + 30) % 60
    schedule = f"cron({minute} {random.randint(0, 11)}/12 * * ? *)"
    daily = Scenario(scenario.aws, scenario.outputs, scenario.api, scenario.service_name, schedule)
    stage = daily.outputs["prefix"].split("-")[1]
    with events_told(daily) as told, daily.service(over_sns=True):
        daily.put("wants", catch_up="one")
        daily.put("does-not")
        long_ago = daily.tick_time() - 3 * 24 * 60 * MINUTE_MS
        for job_name in ("wants", "does-not"):
            key = {"service_name": daily.service_name, "job_name": job_name}
            set_back(daily, "jobs_table_name", key, "active_since_ms", long_ago)
        set_back(daily, "schedules_table_name", {"stage": stage, "schedule": schedule}, "since_ms", long_ago)
        reconcile(daily)
        (only,) = poll(lambda: daily.history("wants"), 30, "execution that catches up")
        execution = daily.wait_until("wants", ms_of_iso(only["scheduled_time"]), "success")
        assert reconcile(daily)["missed"] == []
        assert daily.history("does-not") == []
        poll(lambda: told, 20, "news of the missed ticks")
        daily.delete("wants")
        daily.delete("does-not")
    missed = [event for event in told if event["event"] == "schedule.missed"]
    assert len(missed) == 1
    assert missed[0]["last_missed"] == execution["scheduled_time"] == iso(execution["scheduled_time_ms"])
    assert missed[0]["count"] == 6


def test_a_start_later_than_its_deadline_is_skipped(scenario: Scenario) -> None:
    scenario.put("a", starting_deadline_seconds=30)
    scenario.set_back("a")
    at_ms = scenario.tick(scenario.tick_time() - MINUTE_MS)
    execution = scenario.wait_until("a", at_ms, "skipped")
    assert execution["reason"]["code"] == "started_too_late"
