"""Schedules of EventBridge Scheduler as triggers: for time zones, one-time schedules and bounds.

If the stage's trigger_type is ``scheduler``, plain schedules have them, too. They are in the default group.
Here, ``schedule`` is the key of a schedule (jobmanager.schedules.keys).

EventBridge Scheduler takes a StartDate only up to 5 minutes in the past. It fires a rate without a StartDate
at once, and counts it anew when the schedule is updated. So a schedule gets a StartDate only if that lies
ahead, and a rate always gets one: its next time, counted from its ``start_at``, or else from its last tick.
So a rate keeps its times when its schedule is repaired, or replaces a rule. A new rate fires first when its
period has passed, as that of a rule does.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#rate-based
https://github.com/getmoto/moto/pull/8172

What never fires again needs no schedule, and gets none: EventBridge Scheduler refuses times in the past.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from jobmanager.aws.clients import scheduler as client
from jobmanager.core.clock import now_ms
from jobmanager.core.errors import ScheduleLimitReached
from jobmanager.core.settings import setting
from jobmanager.runtime.logs import logger
from jobmanager.schedules import counts
from jobmanager.schedules.expression import InvalidSchedule, is_at, is_rate
from jobmanager.schedules.fire_times import fired_within, fires_again, next_fire_times, next_of_rate
from jobmanager.schedules.keys import timing_of
from jobmanager.schedules.timing import Timing
from jobmanager.schedules.trigger_kind import (
    NOT_FOUND,
    TriggerState,
    code_of,
    is_trigger_name,
    trigger_name,
    trigger_prefix,
)

if TYPE_CHECKING:
    from mypy_boto3_scheduler.type_defs import GetScheduleOutputTypeDef, ScheduleSummaryTypeDef

type Json = dict[str, Any]

_GROUP = "default"
_KNOWN_TICKS = ("since_ms", "last_tick_ms")


def listed() -> "dict[str, ScheduleSummaryTypeDef]":
    """Returns the stage's schedules by name; skips names that :func:`trigger_name` could not have made.

    ListSchedules returns name, state, target's ARN and times of change of 100 schedules at a time.
    https://docs.aws.amazon.com/scheduler/latest/APIReference/API_ListSchedules.html
    """
    found: dict[str, ScheduleSummaryTypeDef] = {}
    more: Json = {}
    while True:
        answer = client().list_schedules(
            GroupName=_GROUP, NamePrefix=trigger_prefix(), MaxResults=100, **more
        )
        found |= {each["Name"]: each for each in answer["Schedules"] if is_trigger_name(each["Name"])}
        if not answer.get("NextToken"):
            return found
        more = {"NextToken": answer["NextToken"]}


def state_in_list(found: "ScheduleSummaryTypeDef | None", schedule: str) -> TriggerState:
    """Compares a schedule with what is wanted, as far as a list tells: its target's ARN, and its state."""
    if found is None:
        return "missing"
    if found["Target"]["Arn"] != setting("START_DUE_EXECUTIONS_ARN"):
        return "different"
    return "in step" if found["State"] == "ENABLED" else "disabled"


def is_complete(schedule: str) -> bool:
    """Whether the schedule exists, is enabled, and has its times and our target as specified."""
    found = _read(trigger_name(schedule))
    return _state_of(found, schedule) == "in step" and _has_target(found, schedule)


def schedule_of(found: "ScheduleSummaryTypeDef") -> str:
    """Returns the key in the input of a schedule in a list, or else its expression."""
    details = _read(found["Name"])
    if details is None:
        return ""
    try:
        schedule = json.loads(details["Target"]["Input"])["schedule"]
    except (KeyError, TypeError, ValueError):
        schedule = None
    return schedule if isinstance(schedule, str) else str(details["ScheduleExpression"])


def state(schedule: str) -> TriggerState:
    """Reads the state of the schedule; ignores its target."""
    return _state_of(_read(trigger_name(schedule)), schedule)


def put(schedule: str, known_state: TriggerState | None = None) -> bool:
    """Ensures that the schedule exists, is enabled, and is as wanted; returns whether that took a change.

    ``known_state`` is the state that the caller has just read; it saves a GetSchedule.

    The SDK sends a new ClientToken with each call, and the same with its retries. A token made from the
    schedule would let AWS answer a later call, after a removal, with what it did before.

    Raises InvalidSchedule if EventBridge Scheduler does not accept the schedule, and ScheduleLimitReached if
    the account has no room for another one.
    """
    name, at_ms, timing = trigger_name(schedule), now_ms(), timing_of(schedule)
    if not fires_again(timing, at_ms):
        return False
    found = known_state or _state_and_target(schedule)
    if found == "in step":
        return False
    wanted = _definition(schedule, timing, at_ms)
    try:
        if found == "missing":
            client().create_schedule(**wanted)
        else:
            client().update_schedule(**wanted)
    except ClientError as error:
        raise _refusal(error, schedule) or error from None
    logger.info("schedule put", extra={"trigger": name, "schedule": schedule})
    return True


def remove(name: str) -> bool:
    """Removes a schedule; False if it is already gone."""
    try:
        client().delete_schedule(GroupName=_GROUP, Name=name)
    except ClientError as error:
        if code_of(error) != NOT_FOUND:
            raise
        return False
    logger.info("schedule removed", extra={"trigger": name})
    return True


def _refusal(error: ClientError, schedule: str) -> Exception | None:
    """Returns what the caller must change; None if the caller cannot help it."""
    if code_of(error) == "ServiceQuotaExceededException":
        return ScheduleLimitReached(
            f"{schedule} would need one more schedule than EventBridge Scheduler allows this account: choose"
            " one that is in use, or have the quota for schedules raised"
        )
    message = error.response["Error"].get("Message", "")
    # AWS also refuses a role that it cannot assume, for instance one that was made seconds ago.
    if code_of(error) == "ValidationException" and "role" not in message.lower():
        return InvalidSchedule(f"EventBridge Scheduler does not accept {schedule}: {message}")
    return None


def _read(name: str) -> "GetScheduleOutputTypeDef | None":
    try:
        return client().get_schedule(GroupName=_GROUP, Name=name)
    except ClientError as error:
        if code_of(error) != NOT_FOUND:
            raise
        return None


def _state_and_target(schedule: str) -> TriggerState:
    found = _read(trigger_name(schedule))
    state_of_it = _state_of(found, schedule)
    return "different" if state_of_it == "in step" and not _has_target(found, schedule) else state_of_it


def _state_of(found: "GetScheduleOutputTypeDef | None", schedule: str) -> TriggerState:
    """Compares a schedule with what is wanted; ignores its target."""
    timing, at_ms = timing_of(schedule), now_ms()
    if not fires_again(timing, at_ms):
        return "in step"
    if found is None:
        return "missing"
    is_as_wanted = (
        found["ScheduleExpression"] == timing.schedule
        and found.get("ScheduleExpressionTimezone", "UTC") == timing.time_zone
        and found["FlexibleTimeWindow"] == {"Mode": "OFF"}
        and _is_start_of(start := _seconds(found.get("StartDate")), timing, at_ms)
        and _seconds(found.get("EndDate")) == _end_of(timing, start)
    )
    if not is_as_wanted:
        return "different"
    return "in step" if found["State"] == "ENABLED" else "disabled"


def _has_target(found: "GetScheduleOutputTypeDef | None", schedule: str) -> bool:
    return found is not None and all(
        found["Target"].get(field) == value for field, value in _target(schedule).items()
    )


def _definition(schedule: str, timing: Timing, at_ms: int) -> Json:
    """Builds the whole schedule, because an update resets what it leaves out."""
    start = _start_of(schedule, timing, at_ms)
    end = _end_of(timing, start)
    return {
        "Name": trigger_name(schedule),
        "GroupName": _GROUP,
        "Description": f"Ticks of the jobs with the schedule {schedule}",
        "ScheduleExpression": timing.schedule,
        "ScheduleExpressionTimezone": timing.time_zone,
        **({} if start is None else {"StartDate": datetime.fromtimestamp(start, UTC)}),
        **({} if end is None else {"EndDate": datetime.fromtimestamp(end, UTC)}),
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "State": "ENABLED",
        "ActionAfterCompletion": "NONE",
        "Target": _target(schedule),
    }


def _target(schedule: str) -> Json:
    tick = {"schedule": schedule, "scheduled_time": "<aws.scheduler.scheduled-time>"}
    return {
        "Arn": setting("START_DUE_EXECUTIONS_ARN"),
        "RoleArn": setting("SCHEDULER_ROLE_ARN"),
        "Input": json.dumps(tick),
        "RetryPolicy": {"MaximumRetryAttempts": 60, "MaximumEventAgeInSeconds": 3600},
        "DeadLetterConfig": {"Arn": setting("TICK_DEAD_LETTER_QUEUE_ARN")},
    }


def _start_of(schedule: str, timing: Timing, at_ms: int) -> int | None:
    """Returns the StartDate of a schedule that is put now, in seconds since 1970. It lies ahead."""
    if is_rate(timing.schedule):
        return _up(_next_of_rate(schedule, timing, at_ms))
    if is_at(timing.schedule) or timing.start_ms is None or timing.start_ms <= at_ms:
        return None
    return _up(timing.start_ms)


def _next_of_rate(schedule: str, timing: Timing, at_ms: int) -> int:
    if timing.start_ms is None and (item := counts.find(schedule)):
        known = [item[name] for name in _KNOWN_TICKS if name in item]
        if known:
            return next_of_rate(timing.schedule, max(known), at_ms)
    return next_fire_times(timing, at_ms, 1)[0]


def _is_start_of(found: int | None, timing: Timing, at_ms: int) -> bool:
    """Whether a schedule that has this StartDate now fires at the right times from now on."""
    if is_at(timing.schedule):
        return True
    if is_rate(timing.schedule):
        return _is_start_of_rate(found, timing, at_ms)
    if timing.start_ms is None or timing.start_ms <= at_ms:
        return found is None or found * 1000 <= at_ms
    return found == _up(timing.start_ms)


def _is_start_of_rate(found: int | None, timing: Timing, at_ms: int) -> bool:
    (next_ms,) = next_fire_times(timing, at_ms, 1)
    if timing.start_ms is None:
        return found is None or found <= _up(next_ms)
    counted = replace(timing, start_ms=_up(timing.start_ms) * 1000)
    return (
        found is not None
        and found <= _up(next_ms)
        and fired_within(counted, found * 1000 - 1, found * 1000) is not None
    )


def _end_of(timing: Timing, start: int | None) -> int | None:
    """Returns the EndDate in seconds since 1970. A one-time schedule has none: AWS ignores it.

    It is a second later if the schedule starts with its last tick, because AWS wants it after the StartDate.
    """
    if timing.end_ms is None or is_at(timing.schedule):
        return None
    end = timing.end_ms // 1000
    return end + 1 if end == start else end


def _seconds(date: datetime | None) -> int | None:
    return None if date is None else int(date.timestamp())


def _up(ms: int) -> int:
    """Rounds up to whole seconds, as the SDK drops fractions."""
    return -(-ms // 1000)
