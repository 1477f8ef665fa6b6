"""The stand-in of EventBridge Scheduler: it keeps schedules as moto does, and fires as AWS says."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobmanager.core.clock import ms_of_iso
from tests.simulation.calls import Calls, Odds
from tests.simulation.choices import Choices
from tests.simulation.event_scheduler import EventScheduler
from tests.simulation.moto_client import moto_client
from tests.simulation.scheduler import Scheduler
from tests.simulation.story import Story
from tests.simulation.ticks import Ticks

START_MS = ms_of_iso("2100-07-07T00:00:00Z")
MINUTE_MS = 60_000
INPUT = '{"schedule": "it", "scheduled_time": "<aws.scheduler.scheduled-time>"}'


def schedules_of(scheduler: Scheduler, fired: list[Any]) -> EventScheduler:
    choices, story = Choices(0, {}), Story()
    calls = Calls(scheduler, choices, story, Odds())

    def fire(function: str, event: Any, label: str) -> None:
        fired.append((function, event))

    return EventScheduler(scheduler, Ticks(scheduler, choices, calls, story, fire))


def definition(name: str, expression: str, **more: Any) -> dict[str, Any]:
    return {
        "Name": name,
        "GroupName": "default",
        "ScheduleExpression": expression,
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "State": "ENABLED",
        "Target": {
            "Arn": "arn:aws:lambda:us-east-1:123456789012:function:start_due_executions",
            "RoleArn": "arn:aws:iam::123456789012:role/r",
            "Input": INPUT,
        },
        **more,
    }


def date(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


@pytest.fixture(scope="module")
def moto() -> Iterator[Any]:
    with moto_client("scheduler") as client:
        yield client


NAMES = st.sampled_from(("one", "two"))
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(("create_schedule", "update_schedule")),
            NAMES,
            st.sampled_from(("rate(1 minute)", "cron(0 2 * * ? *)")),
            st.sampled_from(("ENABLED", "DISABLED")),
        ),
        st.tuples(st.sampled_from(("get_schedule", "delete_schedule", "list_schedules")), NAMES),
    ),
    min_size=1,
    max_size=15,
)


def answer(client: Any, example: str, operation: tuple[str, ...]) -> Any:
    """What a client answers, as far as the stage reads it; or the code of its error."""
    method, name, *rest = operation
    try:
        if rest:
            getattr(client, method)(**definition(f"{example}{name}", rest[0], State=rest[1]))
            return "done"
        if method == "list_schedules":
            found = client.list_schedules(GroupName="default", NamePrefix=example, MaxResults=100)
            return sorted((each["Name"], each["State"], each["Target"]["Arn"]) for each in found["Schedules"])
        found = getattr(client, method)(GroupName="default", Name=f"{example}{name}")
        return [found[field] for field in ("ScheduleExpression", "State")] if "State" in found else "done"
    except ClientError as error:
        return error.response["Error"]["Code"]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(operations=OPERATIONS)
def test_the_stand_in_answers_as_moto_does(moto: Any, operations: list[tuple[str, ...]]) -> None:
    example, ours = uuid.uuid4().hex, schedules_of(Scheduler(START_MS), [])
    for number, operation in enumerate(operations):
        assert answer(ours, example, operation) == answer(moto, example, operation), (number, operation)


def times(*definitions: dict[str, Any], minutes: int = 5) -> list[str]:
    """When schedules fire that are made 10 s after START_MS."""
    scheduler, fired = Scheduler(START_MS + 10_000), list[Any]()
    schedules = schedules_of(scheduler, fired)
    schedules.start_clock(START_MS + minutes * MINUTE_MS)
    for each in definitions:
        schedules.create_schedule(**each)
    scheduler.run()
    assert {function for function, _ in fired} <= {"start_due_executions"}
    return [event["scheduled_time"][11:] for _, event in fired]


def test_a_rate_fires_at_its_start_and_without_one_at_once() -> None:
    """https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#rate-based."""
    later = {"StartDate": date(START_MS + 90_000)}
    assert times(definition("a", "rate(2 minutes)")) == ["00:00:10Z", "00:02:10Z", "00:04:10Z"]
    assert times(definition("a", "rate(2 minutes)", **later)) == ["00:01:30Z", "00:03:30Z"]


def test_a_cron_fires_by_the_clock_of_its_zone_within_its_bounds() -> None:
    bounds = {"StartDate": date(START_MS + 2 * MINUTE_MS), "EndDate": date(START_MS + 3 * MINUTE_MS)}
    in_kathmandu = {"ScheduleExpressionTimezone": "Asia/Kathmandu"}  # 05:45 ahead
    assert times(definition("a", "cron(* * * * ? *)", **bounds)) == ["00:02:00Z", "00:03:00Z"]
    assert times(definition("a", "cron(47 5 * * ? *)", **in_kathmandu)) == ["00:02:00Z"]


def test_a_disabled_schedule_does_not_fire() -> None:
    assert times(definition("a", "cron(* * * * ? *)", State="DISABLED")) == []


def test_an_update_replaces_what_was_due_and_a_deletion_ends_it() -> None:
    scheduler, fired = Scheduler(START_MS), list[Any]()
    schedules = schedules_of(scheduler, fired)
    schedules.start_clock(START_MS + 5 * MINUTE_MS)
    later = {"StartDate": date(START_MS + 2 * MINUTE_MS)}
    schedules.create_schedule(**definition("a", "rate(1 minute)", StartDate=date(START_MS + 1000)))
    schedules.update_schedule(**definition("a", "rate(1 hour)", **later))
    schedules.create_schedule(**definition("b", "rate(1 minute)", **later))
    schedules.delete_schedule("default", "b")
    scheduler.run()
    assert [event["scheduled_time"][11:] for _, event in fired] == ["00:02:00Z"]


def test_a_start_of_long_ago_is_refused() -> None:
    """https://github.com/getmoto/moto/pull/8172 shows AWS's words."""
    schedules = schedules_of(Scheduler(START_MS), [])
    with pytest.raises(ClientError, match="earlier than 5 minutes ago"):
        schedules.create_schedule(**definition("a", "rate(1 minute)", StartDate=date(START_MS - 301_000)))
