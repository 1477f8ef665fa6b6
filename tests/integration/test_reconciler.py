"""The reconciler repairs rules that were changed by hand. It reports missed ticks and catches up.

Other tests use the same stage, so each test looks only at its own schedule. The stage uses the real clock, so
a test makes ticks missed by moving times back in the tables.
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
from jobmanager.schedules.fire_times import fire_times_within
from jobmanager.schedules.keys import timing_of
from local.api_client import path_of
from local.sample_service import QueueListener
from tests.integration.polling import poll
from tests.integration.scenario import Scenario

pytestmark = [pytest.mark.xdist_group("upkeep"), pytest.mark.usefixtures("only_reconciler")]

MINUTE_MS = 60_000


def reconcile(scenario: Scenario) -> dict[str, list[dict[str, Any]]]:
    """Runs the reconciler with the API. Returns what it reports about this scenario's schedule."""
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
def published_events(scenario: Scenario) -> Iterator[list[dict[str, Any]]]:
    """Collects the published events about this scenario's schedule.

    If the stage runs the reconciler at the same moment, both runs may publish the same event.
    """
    published: list[dict[str, Any]] = []

    def note(event: dict[str, Any], _trace_header: str | None) -> None:
        published.extend([scenario.checked_event(event)] if event["schedule"] == scenario.schedule else [])

    wanted = {"event": ["schedule.reconciled", "schedule.missed"]}
    with QueueListener(scenario.outputs["events_topic_arn"], wanted, note, queue_name="published"):
        yield published


def set_back(scenario: Scenario, table: str, key: dict[str, str], name: str, at_ms: int) -> None:
    to = TypeSerializer().serialize
    scenario.aws.client("dynamodb").update_item(
        TableName=scenario.outputs[table],
        Key={field: to(value) for field, value in key.items()},
        UpdateExpression="SET #name = :at",
        ExpressionAttributeNames={"#name": name},
        ExpressionAttributeValues={":at": to(at_ms)},
    )


def test_a_rule_deleted_by_hand_is_restored_and_an_event_is_published(scenario: Scenario) -> None:
    scenario.put("a")
    (rule,) = scenario.rules()
    with published_events(scenario) as published:
        remove(scenario, rule["Name"])
        # The stage may run the reconciler now, and that run may restore the rule.
        reconcile(scenario)
        poll(lambda: published, 20, "event about the rule")
    (again,) = scenario.rules()
    assert (again["Name"], again["State"]) == (rule["Name"], "ENABLED")
    expected = {"event": "schedule.reconciled", "schedule": scenario.schedule, "rule": rule["Name"]}
    expected |= {"trigger_type": "rule", "done": "put"}
    for event in published:
        assert event.pop("found") in ("missing", "different")  # such a run may see the rule half deleted
        assert {name: value for name, value in event.items() if name != "occurred_at"} == expected
    assert reconcile(scenario)["changed"] == []


def test_a_rule_that_is_disabled_or_has_a_wrong_target_is_repaired(scenario: Scenario) -> None:
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


def test_an_orphaned_rule_is_deleted_and_a_rule_with_another_name_stays(scenario: Scenario) -> None:
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


def test_missed_ticks_are_published_and_a_job_with_catch_up_starts_for_the_latest(
    scenario: Scenario,
) -> None:
    # This schedule fires twice a day, but not within the next half hour.
    minute = (time.gmtime().tm_min + 30) % 60
    schedule = f"cron({minute} {random.randint(0, 11)}/12 * * ? *)"
    daily = Scenario(scenario.aws, scenario.outputs, scenario.api, scenario.service_name, schedule)
    stage = daily.outputs["prefix"].split("-")[1]
    with published_events(daily) as published, daily.service(over_sns=True):
        daily.put("catches-up", catch_up="one")
        daily.put("does-not")
        long_ago = daily.tick_time() - 3 * 24 * 60 * MINUTE_MS
        for job_name in ("catches-up", "does-not"):
            key = {"service_name": daily.service_name, "job_name": job_name}
            set_back(daily, "jobs_table_name", key, "active_since_ms", long_ago)
        set_back(daily, "schedules_table_name", {"stage": stage, "schedule": schedule}, "since_ms", long_ago)
        reconcile(daily)
        (only,) = poll(lambda: daily.history("catches-up"), 30, "execution that catches up")
        execution = daily.wait_until("catches-up", ms_of_iso(only["scheduled_time"]), "success")
        assert reconcile(daily)["missed"] == []
        assert daily.history("does-not") == []
        poll(lambda: published, 20, "event about the missed ticks")
        daily.delete("catches-up")
        daily.delete("does-not")
    missed = {
        (event["last_missed"], event["count"]) for event in published if event["event"] == "schedule.missed"
    }
    assert missed == {(execution["scheduled_time"], 6)}
    assert execution["scheduled_time"] == iso(execution["scheduled_time_ms"])


def test_a_job_that_catches_up_all_missed_ticks_starts_for_each_oldest_first(scenario: Scenario) -> None:
    # This schedule fires twice a day, but not within the next half hour.
    minute = (time.gmtime().tm_min + 30) % 60
    schedule = f"cron({minute} {random.randint(0, 11)}/12 * * ? *)"
    daily = Scenario(scenario.aws, scenario.outputs, scenario.api, scenario.service_name, schedule)
    stage, window_seconds = daily.outputs["prefix"].split("-")[1], 40 * 3600
    with daily.service(over_sns=True):
        daily.put("all", catch_up="all", catch_up_window_seconds=window_seconds)
        long_ago = daily.tick_time() - 3 * 24 * 60 * MINUTE_MS
        key = {"service_name": daily.service_name, "job_name": "all"}
        set_back(daily, "jobs_table_name", key, "active_since_ms", long_ago)
        set_back(daily, "schedules_table_name", {"stage": stage, "schedule": schedule}, "since_ms", long_ago)
        found_ms = daily.tick_time()
        reconcile(daily)
        timing = timing_of(schedule)
        expected = fire_times_within(timing, long_ago, found_ms - window_seconds * 1000, found_ms)
        assert len(expected) in (3, 4)
        for at_ms in expected:
            daily.wait_until("all", at_ms, "success")
        assert reconcile(daily)["missed"] == []
        assert len(daily.history("all")) == len(expected)
        daily.delete("all")
    machines = [daily.machine("all", at_ms) for at_ms in expected]
    starts = [machine["startDate"] for machine in machines]
    assert starts == sorted(starts)


@pytest.mark.slow
def test_a_job_whose_schedule_has_ended_is_completed_and_can_be_put_again(scenario: Scenario) -> None:
    """Its last tick and the grace period are written into the table, so that the test need not wait."""
    stage = scenario.outputs["prefix"].split("-")[1]
    at_ms = (int(time.time()) + 30) * 1000  # no longer, because others wait for the reconciler
    schedule = f"at({iso(at_ms).removesuffix('Z')})"
    scenario.put("once", schedule=schedule)
    key = {"stage": stage, "schedule": f"{schedule} UTC"}
    assert "completed_at" not in scenario.job("once")
    for name, value in (("last_tick_ms", at_ms), ("ended_ms", 1)):
        set_back(scenario, "schedules_table_name", key, name, value)
    time.sleep(max(0.0, at_ms / 1000 - time.time()) + 1)
    answer = scenario.api.request("POST", path_of("schedules", "reconcile"))
    assert answer.status == 200, answer
    job = scenario.job("once")
    assert ("completed_at" in job, job["next_fire_times"], job["updated_by"]) == (True, [], "manager")
    scenario.put("once")
    assert "completed_at" not in scenario.job("once")
    with scenario.service(over_sns=True):
        scenario.wait_until("once", scenario.tick(), "success")


def test_a_start_later_than_its_deadline_is_skipped(scenario: Scenario) -> None:
    scenario.put("a", starting_deadline_seconds=30)
    scenario.set_back("a")
    at_ms = scenario.tick(scenario.tick_time() - MINUTE_MS)
    execution = scenario.wait_until("a", at_ms, "skipped")
    assert execution["reason"]["code"] == "started_too_late"
