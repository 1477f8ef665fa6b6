import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.simulation.calls import Calls, Odds
from tests.simulation.choices import Choices
from tests.simulation.moto_client import moto_client
from tests.simulation.rules import EventBridge
from tests.simulation.same_as import RULE_OPERATIONS, AskedForRules, Operation, compare_rules
from tests.simulation.scheduler import Scheduler
from tests.simulation.story import Story
from tests.simulation.ticks import Ticks

TARGET = {
    "Id": "start",
    "Arn": "arn:aws:lambda:us-east-1:1:function:start_due_executions",
    "InputTransformer": {"InputPathsMap": {"time": "$.time"}, "InputTemplate": '{"scheduled_time": <time>}'},
}
START_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z


def rules_of(scheduler: Scheduler, fired: list[Any]) -> EventBridge:
    choices, story = Choices(0, {}), Story()
    calls = Calls(scheduler, choices, story, Odds())

    def fire(function: str, event: Any, label: str) -> None:
        fired.append((scheduler.now_ms, event))

    return EventBridge(scheduler, Ticks(scheduler, choices, calls, story, fire))


@pytest.fixture(scope="module")
def moto() -> Iterator[Any]:
    with moto_client("events") as client:
        yield client


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(operations=RULE_OPERATIONS)
def test_the_stand_in_answers_as_moto_does(moto: Any, operations: list[Operation]) -> None:
    example = uuid.uuid4().hex
    ours = rules_of(Scheduler(START_MS), [])
    compare_rules(operations, AskedForRules(moto, example), AskedForRules(ours, example))


def test_a_rate_counts_from_when_its_rule_was_put_and_a_cron_by_the_clock() -> None:
    scheduler, fired = Scheduler(START_MS + 10_000), list[Any]()
    rules = rules_of(scheduler, fired)
    rules.start_clock(START_MS + 125_000)
    for name, expression in (("rate", "rate(1 minute)"), ("cron", "cron(0/2 * * * ? *)")):
        rules.put_rule(Name=name, ScheduleExpression=expression, State="ENABLED")
        rules.put_targets(Rule=name, Targets=[TARGET])
    scheduler.run()
    times = [event["scheduled_time"] for _, event in fired]
    assert times == ["2026-11-23T12:01:10Z", "2026-11-23T12:02:00Z"]


def test_a_rule_that_is_gone_or_disabled_does_not_fire() -> None:
    scheduler, fired = Scheduler(START_MS), list[Any]()
    rules = rules_of(scheduler, fired)
    rules.start_clock(START_MS + 200_000)
    rules.put_rule(Name="disabled", ScheduleExpression="cron(* * * * ? *)", State="DISABLED")
    rules.put_targets(Rule="disabled", Targets=[TARGET])
    rules.put_rule(Name="gone", ScheduleExpression="rate(1 minute)", State="ENABLED")
    rules.delete_rule(Name="gone")
    scheduler.run()
    assert fired == []
