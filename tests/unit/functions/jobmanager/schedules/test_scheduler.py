"""Schedules of EventBridge Scheduler as triggers: made, compared, repaired and removed."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from jobmanager.aws import tables
from jobmanager.aws.clients import scheduler as client
from jobmanager.core.clock import ms_of_iso
from jobmanager.core.errors import ScheduleLimitReached
from jobmanager.schedules import counts, scheduler, triggers
from jobmanager.schedules.expression import InvalidSchedule
from jobmanager.schedules.keys import key_of
from jobmanager.schedules.timing import Timing
from jobmanager.schedules.trigger_kind import trigger_name
from tests.unit.functions.examples import ACCOUNT, NOON_MS

pytestmark = pytest.mark.usefixtures("cloud")

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
BERLIN = "cron(0 2 * * ? *) Europe/Berlin"
RATE = "rate(2 hours)"


@pytest.fixture(autouse=True)
def for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIGGER_TYPE", "scheduler")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the time of the functions. moto's clock goes on, so a StartDate must lie after it."""

    def set_to(at_ms: int) -> None:
        monkeypatch.setattr(scheduler, "now_ms", lambda: at_ms)

    return set_to


# Later than moto's clock, which refuses a StartDate that is long past.
START_MS = ms_of_iso("2190-01-01T00:00:00Z")


def enter(schedule: str, at_ms: int = NOON_MS) -> None:
    """Counts a job that enters a schedule."""
    assert tables.transact(counts.count_changes(None, schedule, at_ms))


def found(schedule: str) -> dict[str, Any]:
    return dict(client().get_schedule(GroupName="default", Name=trigger_name(schedule)))


def date(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC)


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setattr(client(), name, lambda **_: pytest.fail("a call that is not needed"))


def update(schedule: str, **changes: Any) -> None:
    """Changes a schedule by hand."""
    fields = (
        "Name",
        "GroupName",
        "ScheduleExpression",
        "ScheduleExpressionTimezone",
        "StartDate",
        "EndDate",
        "FlexibleTimeWindow",
        "State",
        "Target",
    )
    kept = {name: value for name, value in found(schedule).items() if name in fields}
    client().update_schedule(**{**kept, **changes})


def test_a_schedule_invokes_start_due_executions_as_a_rule_does() -> None:
    assert scheduler.put(BERLIN)
    made = found(BERLIN)
    assert made["ScheduleExpression"] == "cron(0 2 * * ? *)"
    assert made["ScheduleExpressionTimezone"] == "Europe/Berlin"
    assert (made["State"], made["FlexibleTimeWindow"]) == ("ENABLED", {"Mode": "OFF"})
    assert made["ActionAfterCompletion"] == "NONE"
    assert "StartDate" not in made
    assert "EndDate" not in made
    target = made["Target"]
    assert json.loads(target["Input"]) == {
        "schedule": BERLIN,
        "scheduled_time": "<aws.scheduler.scheduled-time>",
    }
    assert target["Arn"] == f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:start"
    assert target["RoleArn"] == f"arn:aws:iam::{ACCOUNT}:role/sjm-test-scheduler"
    assert target["RetryPolicy"] == {"MaximumRetryAttempts": 60, "MaximumEventAgeInSeconds": 3600}
    assert target["DeadLetterConfig"] == {"Arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:ticks"}


def test_the_time_that_scheduler_puts_in_is_read_by_a_tick() -> None:
    """As in https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html."""
    assert ms_of_iso("2022-03-22T18:59:43Z") == 1_647_975_583_000


@pytest.mark.parametrize(
    "schedule",
    [
        BERLIN,
        RATE,
        "at(2190-12-24T18:00:00) Asia/Kathmandu",
        key_of(Timing(RATE, start_ms=START_MS + 500, end_ms=START_MS + DAY_MS)),
        key_of(Timing("rate(1 minute)", start_ms=1_000_000_007_500)),
        key_of(Timing("cron(0 2 * * ? *)", "Europe/Berlin", START_MS, START_MS + DAY_MS)),
        key_of(Timing("cron(0 2 * * ? *)", start_ms=0)),
        key_of(Timing("at(2190-12-24T18:00:00)", start_ms=0, end_ms=START_MS + 365 * DAY_MS)),
    ],
)
def test_a_schedule_that_is_as_wanted_is_not_put_again(
    schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scheduler.state(schedule) == "missing"
    assert scheduler.put(schedule)
    assert scheduler.state(schedule) == "in step"
    assert scheduler.is_complete(schedule)
    forbid(monkeypatch, "create_schedule", "update_schedule")
    assert not scheduler.put(schedule)


CHANGES_BY_HAND: list[tuple[dict[str, Any], str]] = [
    ({"State": "DISABLED"}, "disabled"),
    ({"ScheduleExpression": "cron(0 3 * * ? *)"}, "different"),
    ({"ScheduleExpressionTimezone": "Europe/Paris"}, "different"),
    ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5}}, "different"),
    ({"StartDate": date(START_MS + DAY_MS)}, "different"),
    ({"EndDate": date(START_MS + 8 * DAY_MS)}, "different"),
]


@pytest.mark.parametrize(("change", "state"), CHANGES_BY_HAND)
def test_a_schedule_that_was_changed_by_hand_is_repaired(change: dict[str, Any], state: str) -> None:
    schedule = key_of(Timing("cron(0 2 * * ? *)", "Europe/Berlin", START_MS, START_MS + 9 * DAY_MS))
    scheduler.put(schedule)
    update(schedule, **change)
    assert scheduler.state(schedule) == state
    assert not scheduler.is_complete(schedule)
    assert scheduler.put(schedule)
    assert scheduler.state(schedule) == "in step"
    assert (found(schedule)["StartDate"], found(schedule)["EndDate"]) == (
        date(START_MS),
        date(START_MS + 9 * DAY_MS),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"Arn": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:another"},
        {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/another"},
        {"Input": '{"schedule": "rate(1 day)"}'},
        {"RetryPolicy": {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}},
        {"DeadLetterConfig": {"Arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:another"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_target_that_was_changed_by_hand_is_repaired(change: dict[str, Any]) -> None:
    scheduler.put(BERLIN)
    update(BERLIN, Target={**found(BERLIN)["Target"], **change})
    assert scheduler.state(BERLIN) == "in step"
    assert not scheduler.is_complete(BERLIN)
    assert scheduler.put(BERLIN)
    assert scheduler.is_complete(BERLIN)


def test_a_state_that_was_just_read_saves_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler.put(BERLIN)
    update(BERLIN, State="DISABLED")
    with monkeypatch.context() as patch:
        forbid(patch, "get_schedule")
        assert scheduler.put(BERLIN, "disabled")
    assert scheduler.state(BERLIN) == "in step"


# The start of a rate


def test_a_new_rate_fires_first_when_its_period_has_passed(now: Callable[[int], None]) -> None:
    """Without a StartDate, it would fire at once."""
    now(START_MS + 100)
    scheduler.put(RATE)
    assert found(RATE)["StartDate"] == date(START_MS + 2 * HOUR_MS + 1000)


def test_a_rate_keeps_its_times_when_it_is_put_again(now: Callable[[int], None]) -> None:
    enter(RATE, START_MS)
    now(START_MS + 3 * HOUR_MS)
    scheduler.put(RATE)
    assert found(RATE)["StartDate"] == date(START_MS + 4 * HOUR_MS)
    counts.record_if_later(RATE, "last_tick_ms", START_MS + 4 * HOUR_MS + MINUTE_MS)
    update(RATE, State="DISABLED")
    now(START_MS + 9 * HOUR_MS)
    scheduler.put(RATE)
    assert found(RATE)["StartDate"] == date(START_MS + 10 * HOUR_MS + MINUTE_MS)


def test_a_rate_with_a_start_is_counted_from_it_whenever_it_is_put(now: Callable[[int], None]) -> None:
    schedule = key_of(Timing(RATE, start_ms=START_MS))
    now(START_MS - DAY_MS)
    scheduler.put(schedule)
    assert found(schedule)["StartDate"] == date(START_MS)
    now(START_MS + 5 * HOUR_MS)
    assert scheduler.state(schedule) == "in step"
    scheduler.remove(trigger_name(schedule))
    scheduler.put(schedule)
    assert found(schedule)["StartDate"] == date(START_MS + 6 * HOUR_MS)
    now(START_MS + 99 * HOUR_MS)
    assert scheduler.state(schedule) == "in step"


@pytest.mark.parametrize("late_ms", [HOUR_MS, 2 * HOUR_MS], ids=["out of phase", "too late"])
def test_a_rate_whose_start_was_moved_by_hand_is_different(now: Callable[[int], None], late_ms: int) -> None:
    schedule = key_of(Timing(RATE, start_ms=START_MS))
    now(START_MS - DAY_MS)
    scheduler.put(schedule)
    update(schedule, StartDate=date(START_MS + late_ms))
    assert scheduler.state(schedule) == "different"


def test_a_cron_gets_its_start_only_while_that_lies_ahead(now: Callable[[int], None]) -> None:
    """A StartDate of more than 5 minutes ago would be refused."""
    schedule = key_of(Timing("cron(0 2 * * ? *)", start_ms=START_MS))
    now(START_MS - 1)
    scheduler.put(schedule)
    assert found(schedule)["StartDate"] == date(START_MS)
    now(START_MS)
    assert scheduler.state(schedule) == "in step"
    update(schedule, State="DISABLED")
    scheduler.put(schedule)
    assert "StartDate" not in found(schedule)
    assert scheduler.state(schedule) == "in step"


def test_a_rate_that_has_one_tick_left_ends_after_it(now: Callable[[int], None]) -> None:
    """AWS refuses an EndDate that is not after the StartDate."""
    schedule = key_of(Timing(RATE, start_ms=START_MS, end_ms=START_MS + 4 * HOUR_MS))
    now(START_MS + 3 * HOUR_MS)
    scheduler.put(schedule)
    made = found(schedule)
    assert (made["StartDate"], made["EndDate"]) == (
        date(START_MS + 4 * HOUR_MS),
        date(START_MS + 4 * HOUR_MS + 1000),
    )
    assert scheduler.state(schedule) == "in step"


# What is over


@pytest.mark.parametrize(
    "schedule",
    [
        "at(2020-01-01T00:00:00) UTC",
        "at(2190-03-28T02:30:00) Europe/Berlin",
        "cron(0 2 * * ? 2020)",
        key_of(Timing("cron(0 2 * * ? *)", "Europe/Berlin", end_ms=0)),
        key_of(Timing(RATE, end_ms=0)),
        key_of(Timing("at(2190-12-24T18:00:00)", end_ms=START_MS)),
        key_of(Timing("at(2190-12-24T18:00:00)", start_ms=START_MS + 999 * DAY_MS)),
    ],
    ids=["past", "in a gap", "past year", "ended cron", "ended rate", "after its end", "before its start"],
)
def test_what_never_fires_again_gets_no_schedule(schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, "create_schedule", "update_schedule")
    assert not scheduler.put(schedule)
    assert scheduler.state(schedule) == "in step"
    enter(schedule)
    assert triggers.settle(schedule) is None


# Errors


def refuse_with(code: str, message: str = "") -> Callable[..., Any]:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": message}}, "CreateSchedule")

    return refuse


def test_the_accounts_quota_is_the_limit_on_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client(), "create_schedule", refuse_with("ServiceQuotaExceededException"))
    with pytest.raises(ScheduleLimitReached, match="than EventBridge Scheduler allows this account"):
        triggers.put(BERLIN)


def test_a_schedule_that_aws_does_not_accept_is_invalid_with_awss_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse = refuse_with("ValidationException", "Invalid Schedule Expression cron(0 2 * * ? *).")
    monkeypatch.setattr(client(), "create_schedule", refuse)
    with pytest.raises(InvalidSchedule, match=r"does not accept .* Europe/Berlin: Invalid"):
        triggers.put(BERLIN)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ValidationException", "The execution role you provide must allow AWS EventBridge Scheduler to …"),
        ("ThrottlingException", ""),
    ],
)
def test_what_the_caller_cannot_help_is_an_error(
    monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    monkeypatch.setattr(client(), "create_schedule", refuse_with(code, message))
    with pytest.raises(ClientError):
        triggers.put(BERLIN)


@pytest.mark.parametrize("ensure", [triggers.put, triggers.settle])
def test_a_schedule_that_somebody_else_makes_meanwhile_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch, ensure: Callable[[str], object]
) -> None:
    enter(BERLIN)
    create = client().create_schedule

    def made_before(**wanted: Any) -> Any:
        create(**wanted)
        return create(**wanted)

    monkeypatch.setattr(client(), "create_schedule", made_before)
    ensure(BERLIN)
    assert scheduler.is_complete(BERLIN)


@pytest.mark.parametrize("ensure", [triggers.put, triggers.settle])
def test_a_schedule_that_somebody_else_removes_meanwhile_is_made_again(
    monkeypatch: pytest.MonkeyPatch, ensure: Callable[[str], object]
) -> None:
    enter(BERLIN)
    scheduler.put(BERLIN)
    update(BERLIN, State="DISABLED")
    change = client().update_schedule

    def removed_before(**wanted: Any) -> Any:
        scheduler.remove(wanted["Name"])
        return change(**wanted)

    monkeypatch.setattr(client(), "update_schedule", removed_before)
    ensure(BERLIN)
    assert scheduler.is_complete(BERLIN)


def test_a_removal_says_whether_there_was_something_to_remove() -> None:
    scheduler.put(BERLIN)
    assert scheduler.remove(trigger_name(BERLIN))
    assert not scheduler.remove(trigger_name(BERLIN))


def test_a_failed_call_is_not_taken_for_a_missing_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("get_schedule", "delete_schedule"):
        monkeypatch.setattr(client(), name, refuse_with("ThrottlingException"))
    with pytest.raises(ClientError):
        scheduler.state(BERLIN)
    with pytest.raises(ClientError):
        scheduler.remove(trigger_name(BERLIN))


# Lists


def test_all_pages_of_schedules_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"cron({minute} 0 * * ? *) Europe/Berlin" for minute in range(5)]
    for key in keys:
        scheduler.put(key)
    list_schedules = client().list_schedules
    monkeypatch.setattr(client(), "list_schedules", lambda **how: list_schedules(**{**how, "MaxResults": 2}))
    assert scheduler.listed().keys() == {trigger_name(key) for key in keys}


def test_the_list_tells_the_state_and_the_target() -> None:
    scheduler.put(BERLIN)
    name = trigger_name(BERLIN)
    assert scheduler.state_in_list(scheduler.listed()[name], BERLIN) == "in step"
    update(BERLIN, State="DISABLED")
    assert scheduler.state_in_list(scheduler.listed()[name], BERLIN) == "disabled"
    update(BERLIN, Target={**found(BERLIN)["Target"], "Arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:q"})
    assert scheduler.state_in_list(scheduler.listed()[name], BERLIN) == "different"
    assert scheduler.state_in_list(None, BERLIN) == "missing"


@pytest.mark.parametrize("text", ["hello", "[]", "{}", '{"schedule": 7}'])
def test_the_schedule_of_a_listed_one_is_its_key_or_else_its_expression(text: str) -> None:
    scheduler.put(BERLIN)
    (listed,) = scheduler.listed().values()
    assert scheduler.schedule_of(listed) == BERLIN
    update(BERLIN, Target={**found(BERLIN)["Target"], "Input": text})
    assert scheduler.schedule_of(listed) == "cron(0 2 * * ? *)"
    scheduler.remove(trigger_name(BERLIN))
    assert scheduler.schedule_of(listed) == ""
