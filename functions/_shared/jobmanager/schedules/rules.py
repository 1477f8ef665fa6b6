"""The EventBridge rules: one per unique schedule, shared by all jobs of the stage that are on it.

Two changes may meet at one rule: the last job leaves the schedule while another enters it. No lock is needed,
because each change reads the count of jobs again after it has changed the rule:

- A job that enters: put the rule, save the job (which changes the count), settle the rule.
- A job that leaves: save the job, settle the rule.
- Settle: read the count, put or remove the rule accordingly, and read the count again, until both counts
  agree. So whichever change acts last on the rule has seen the last count.

Each of these steps is safe to repeat.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from jobmanager.aws.clients import events
from jobmanager.core.errors import Contended, ScheduleLimitReached
from jobmanager.core.retry import tries
from jobmanager.core.settings import setting
from jobmanager.runtime.logs import logger
from jobmanager.schedules import counts
from jobmanager.schedules.expression import InvalidSchedule

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import (
        DescribeRuleResponseTypeDef,
        PutTargetsResponseTypeDef,
        RemoveTargetsResponseTypeDef,
        RuleTypeDef,
        TargetTypeDef,
    )

type RuleState = Literal["in step", "missing", "disabled", "different"]
type Done = Literal["put", "removed"]

_MAX_TRIES = 10
_MAX_PUTS = 3
# A concurrent change of the same rule, or of the same count. The SDK retries none. PutTargets finds no
# rule if somebody has removed it since it was put.
# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutTargets.html#API_PutTargets_Errors
_NOT_FOUND = "ResourceNotFoundException"
_CONCURRENT_CHANGE_CODES = ("ConcurrentModificationException", "TransactionConflictException", _NOT_FOUND)
_TARGET_ID = "start-due-executions"
_DIGEST = re.compile(r"[0-9a-f]{16}")


def rule_name(schedule: str) -> str:
    """Returns the name of the rule of a canonical schedule; at most 64 characters."""
    digest = hashlib.sha256(schedule.encode()).hexdigest()[:16]
    return f"{setting('PREFIX')}-schedule-{digest}"


def stage_rules() -> "dict[str, RuleTypeDef]":
    """Returns the stage's rules by name; skips names that :func:`rule_name` could not have made.

    ListRules returns name, state and schedule of 100 rules at a time, but no targets.
    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListRules.html
    """
    prefix = f"{setting('PREFIX')}-schedule-"
    found: dict[str, RuleTypeDef] = {}
    more: Any = {}
    while True:
        answer = events().list_rules(NamePrefix=prefix, **more)
        found |= {rule["Name"]: rule for rule in answer["Rules"]}
        if not answer.get("NextToken"):
            break
        more = {"NextToken": answer["NextToken"]}
    return {name: rule for name, rule in found.items() if _DIGEST.fullmatch(name.removeprefix(prefix))}


def state_of(rule: "RuleTypeDef | DescribeRuleResponseTypeDef | None", schedule: str) -> RuleState:
    """Compares a rule with its schedule; ignores its target."""
    if rule is None:
        return "missing"
    if rule.get("ScheduleExpression") != schedule:
        return "different"
    return "in step" if rule.get("State") == "ENABLED" else "disabled"


def put_rule(schedule: str, known_state: RuleState | None = None) -> bool:
    """Ensures that the rule exists, is enabled, and has our target; returns whether that took a change.

    ``known_state`` is the state that the caller has just read; it saves a DescribeRule. Targets of others are
    left alone.

    A correct rule is not put again, because EventBridge counts ``rate(...)`` from when a rule is put: the
    ticks of every job that shares the rule would move.

    If somebody else changes or removes the rule at the same time, it is put again, three times at most.

    Raises InvalidSchedule if EventBridge does not accept the schedule, and ScheduleLimitReached if the
    account has no room for another rule.
    """
    for number in tries(_MAX_PUTS):
        try:
            return _put_rule_once(schedule, known_state)
        except ClientError as error:
            if not _is_concurrent_change(error) or number + 1 == _MAX_PUTS:
                raise
        known_state = None
    raise AssertionError("the last try returns or raises")


def _put_rule_once(schedule: str, known_state: RuleState | None) -> bool:
    name = rule_name(schedule)
    client = events()
    state = known_state or rule_state(schedule)
    if state != "in step":
        try:
            client.put_rule(
                Name=name,
                ScheduleExpression=schedule,
                State="ENABLED",
                Description=f"Ticks of the jobs with the schedule {schedule}",
                Tags=[
                    {"Key": "stage", "Value": setting("STAGE")},
                    {"Key": "managed-by", "Value": setting("PREFIX")},
                ],
            )
        except client.exceptions.LimitExceededException:
            raise ScheduleLimitReached(
                f"{schedule} would need one more rule than EventBridge allows this account: choose a "
                "schedule that is in use, or have the quota for rules raised"
            ) from None
        except ClientError as error:
            if _code(error) == "ValidationException":
                raise InvalidSchedule(
                    f"EventBridge does not accept {schedule}: expected a valid cron or rate expression"
                ) from None
            raise
        logger.info("rule put", extra={"rule": name, "schedule": schedule})
    if state != "missing" and has_target(schedule):
        return state != "in step"
    if failure := _failure_of_entry(client.put_targets(Rule=name, Targets=[_target(schedule)]), "PutTargets"):
        raise failure
    return True


def rule_state(schedule: str) -> RuleState:
    """Returns the state of the rule of a schedule; ignores its target."""
    try:
        rule = events().describe_rule(Name=rule_name(schedule))
    except events().exceptions.ResourceNotFoundException:
        rule = None
    return state_of(rule, schedule)


def settle_rule(schedule: str, known_state: RuleState | None = None) -> Done | None:
    """Puts the rule if any active job is on its schedule, and removes it if none is.

    Returns what was done last; None if nothing had to be done. ``known_state``: see :func:`put_rule`.
    """
    done: Done | None = None
    for _ in tries(_MAX_TRIES):
        is_used = counts.job_count(schedule) > 0
        try:
            if is_used:
                done = "put" if put_rule(schedule, known_state) else done
            else:
                done = "removed" if remove_rule(rule_name(schedule)) else done
                counts.delete_if_unused(schedule)
            if (counts.job_count(schedule) > 0) == is_used:
                return done
        except ClientError as error:
            if not _is_concurrent_change(error):
                raise
        known_state = None
    raise Contended(f"Jobs keep entering and leaving {schedule}.")


def settle_rules(schedules: Iterable[str]) -> None:
    """Settles the rules of these canonical schedules."""
    for schedule in schedules:
        settle_rule(schedule)


def _target(schedule: str) -> "TargetTypeDef":
    return {
        "Id": _TARGET_ID,
        "Arn": setting("START_DUE_EXECUTIONS_ARN"),
        "InputTransformer": {
            "InputPathsMap": {"time": "$.time"},
            "InputTemplate": f'{{"schedule": {json.dumps(schedule)}, "scheduled_time": <time>}}',
        },
        "RetryPolicy": {"MaximumRetryAttempts": 60, "MaximumEventAgeInSeconds": 3600},
        "DeadLetterConfig": {"Arn": setting("TICK_DEAD_LETTER_QUEUE_ARN")},
    }


def has_target(schedule: str) -> bool:
    """Whether the rule exists and has our target as specified."""
    wanted = _target(schedule)
    try:
        found = events().list_targets_by_rule(Rule=rule_name(schedule))["Targets"]
    except events().exceptions.ResourceNotFoundException:
        return False
    return any(all(target.get(field) == value for field, value in wanted.items()) for target in found)


def remove_rule(name: str) -> bool:
    """Removes our target and then the rule; False if it is already gone, or has targets of others."""
    try:
        answer = events().remove_targets(Rule=name, Ids=[_TARGET_ID])
        failure = _failure_of_entry(answer, "RemoveTargets")
        # The rule may exist even if the target does not.
        if failure and _code(failure) != _NOT_FOUND:
            raise failure
        events().delete_rule(Name=name)
    except ClientError as error:
        code = _code(error)
        # EventBridge refuses to delete a rule with targets, and targets of others are not ours to remove.
        if code == "ValidationException":
            logger.warning("unused rule was kept, because it has targets of others", extra={"rule": name})
        elif code != _NOT_FOUND:
            raise
        return False
    logger.info("rule removed", extra={"rule": name})
    return True


def _failure_of_entry(
    answer: "PutTargetsResponseTypeDef | RemoveTargetsResponseTypeDef", operation: str
) -> ClientError | None:
    """Returns why our target was not put or removed, although the call as a whole was answered with 200.

    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutTargets.html#API_PutTargets_ResponseElements
    """
    if not answer["FailedEntryCount"]:
        return None
    (failed,) = answer["FailedEntries"]
    code, message = failed.get("ErrorCode", "Unknown"), failed.get("ErrorMessage", "")
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


def _is_concurrent_change(error: ClientError) -> bool:
    return _code(error) in _CONCURRENT_CHANGE_CODES


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]
