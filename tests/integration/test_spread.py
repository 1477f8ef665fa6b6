"""Spread jobs start at an offset of their own after the tick, by the stage's queue, and each once."""

import time
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from jobmanager.core.clock import iso, ms_of_iso
from jobmanager.jobs.spread import offset_seconds
from tests.integration.polling import patient, poll
from tests.integration.scenario import Json, Scenario

SPREAD_SECONDS = 20


def name_with_offset(scenario: Scenario, least: int, most: int, spread: int = SPREAD_SECONDS) -> str:
    """A name for a job whose offset is between the two, both included."""
    return next(
        name
        for name in (f"job-{number}" for number in count())
        if least <= offset_seconds(f"{scenario.service_name}/{name}", spread) <= most
    )


def assert_in_time(scenario: Scenario, name: str, execution: Json) -> None:
    """It started at its offset or later, and its notification and its history tell when that was."""
    offset = offset_seconds(f"{scenario.service_name}/{name}", SPREAD_SECONDS)
    starts_at_ms = ms_of_iso(execution["scheduled_time"]) + offset * 1000
    assert execution["starts_at"] == iso(starts_at_ms)
    assert execution["started_at_ms"] >= starts_at_ms
    assert execution["invocation_latency_ms"] == execution["service_invoked_at_ms"] - starts_at_ms


@pytest.mark.slow
def test_two_jobs_of_a_schedule_start_by_themselves_each_at_its_own_offset(scenario: Scenario) -> None:
    """Other jobs may share the schedule of each minute, so this one has bounds of its own."""
    until = iso(int((datetime.now(UTC) + timedelta(days=1)).timestamp()) * 1000)
    names = name_with_offset(scenario, 1, 6), name_with_offset(scenario, 12, SPREAD_SECONDS)
    offsets = [offset_seconds(f"{scenario.service_name}/{name}", SPREAD_SECONDS) for name in names]
    received: dict[str, Json] = {}
    with scenario.service(over_sns=True) as service:
        for name in names:
            scenario.put(name, schedule="cron(* * * * ? *)", end_at=until, spread_seconds=SPREAD_SECONDS)
        assert [scenario.job(name)["offset_seconds"] for name in names] == offsets
        try:
            service.wait_for(
                lambda s: {each.notification["job_name"] for each in s.received} == set(names),
                patient(200),
                "a tick of both",
            )
        finally:
            for name in names:
                scenario.delete(name)
        for each in service.received:
            received.setdefault(each.notification["job_name"], each.notification)
    for name, told in received.items():
        assert told["scheduled_time_ms"] % 60_000 == 0
        execution = scenario.wait_until(name, told["scheduled_time_ms"], "success")
        assert told["starts_at"] == execution["starts_at"]
        assert_in_time(scenario, name, execution)


@pytest.mark.slow(0.5)
@pytest.mark.parametrize("workflow_type", ["standard", "express"])
def test_a_tick_that_comes_twice_starts_a_spread_job_once(scenario: Scenario, workflow_type: str) -> None:
    spread, at_once = name_with_offset(scenario, 3, 8), "at-once"
    with scenario.service(over_sns=True) as service:
        scenario.put(spread, spread_seconds=SPREAD_SECONDS, workflow_type=workflow_type)
        scenario.put(at_once, workflow_type=workflow_type)
        for name in (spread, at_once):
            scenario.set_back(name)
        at_ms = scenario.tick()
        scenario.tick(at_ms)
        immediate = scenario.wait_until(at_once, at_ms, "success")
        delayed = scenario.wait_until(spread, at_ms, "success", seconds=120)
        assert "starts_at" not in immediate
        assert_in_time(scenario, spread, delayed)
        poll(lambda: no_message_waits(scenario), 60, "an empty queue of spread starts")
        notified = [each.notification["execution_id"] for each in service.received]
        assert notified.count(delayed["execution_id"]) == 1
    assert len(scenario.history(spread)) == 1


def test_a_late_tick_starts_at_once_a_spread_job_whose_time_has_passed(scenario: Scenario) -> None:
    name = name_with_offset(scenario, 1, SPREAD_SECONDS)
    with scenario.service(over_sns=True):
        scenario.put(name, spread_seconds=SPREAD_SECONDS)
        scenario.set_back(name)
        at_ms = scenario.tick(scenario.tick_time() - 60_000)
        assert_in_time(scenario, name, scenario.wait_until(name, at_ms, "success"))


def test_a_job_that_is_disabled_before_its_start_is_skipped(scenario: Scenario) -> None:
    name = name_with_offset(scenario, 1, 5)
    scenario.put(name, spread_seconds=SPREAD_SECONDS)
    scenario.set_back(name)
    # No later, because another test waits for an empty queue.
    at_ms = scenario.tick(scenario.tick_time() + 15_000)
    scenario.put(name, spread_seconds=SPREAD_SECONDS, enabled=False)
    execution = scenario.wait_until(name, at_ms, "skipped", seconds=120)
    assert execution["reason"]["code"] == "job_disabled"


def no_message_waits(scenario: Scenario) -> bool:
    """Whether the queue is empty and stays so for a moment, in which no message is between two states."""
    for _ in range(3):
        if _count(scenario):
            return False
        time.sleep(0.5)
    return True


def _count(scenario: Scenario) -> int:
    sqs: Any = scenario.aws.client("sqs")
    url = sqs.get_queue_url(QueueName=f"{scenario.outputs['prefix']}-spread-starts")["QueueUrl"]
    names = [f"ApproximateNumberOfMessages{which}" for which in ("", "Delayed", "NotVisible")]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)
