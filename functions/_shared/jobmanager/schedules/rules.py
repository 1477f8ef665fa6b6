"""EventBridge rules as triggers: for a ``cron`` or ``rate`` in UTC without bounds.

Here, ``schedule`` is the key of such a schedule, and so its expression.
"""

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from jobmanager.aws.clients import events
from jobmanager.core.errors import ScheduleLimitReached
from jobmanager.core.settings import setting
from jobmanager.runtime.logs import logger
from jobmanager.schedules.expression import InvalidSchedule
from jobmanager.schedules.trigger_kind import (
    NOT_FOUND,
    TriggerState,
    code_of,
    is_trigger_name,
    trigger_name,
    trigger_prefix,
)

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import (
        DescribeRuleResponseTypeDef,
        PutTargetsResponseTypeDef,
        RemoveTargetsResponseTypeDef,
        RuleTypeDef,
        TargetTypeDef,
    )

_TARGET_ID = "start-due-executions"


def listed() -> "dict[str, RuleTypeDef]":
    """Returns the stage's rules by name; skips names that :func:`trigger_name` could not have made.

    ListRules returns name, state and schedule of 100 rules at a time, but no targets.
    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListRules.html
    """
    found: dict[str, RuleTypeDef] = {}
    more: Any = {}
    while True:
        answer = events().list_rules(NamePrefix=trigger_prefix(), **more)
        found |= {rule["Name"]: rule for rule in answer["Rules"] if is_trigger_name(rule["Name"])}
        if not answer.get("NextToken"):
            return found
        more = {"NextToken": answer["NextToken"]}


def state_in_list(found: "RuleTypeDef | DescribeRuleResponseTypeDef | None", schedule: str) -> TriggerState:
    """Compares a rule with its schedule; ignores its target."""
    if found is None:
        return "missing"
    if found.get("ScheduleExpression") != schedule:
        return "different"
    return "in step" if found.get("State") == "ENABLED" else "disabled"


def is_complete(schedule: str) -> bool:
    """Whether the rule exists and has our target as specified."""
    wanted = _target(schedule)
    try:
        found = events().list_targets_by_rule(Rule=trigger_name(schedule))["Targets"]
    except events().exceptions.ResourceNotFoundException:
        return False
    return any(all(target.get(field) == value for field, value in wanted.items()) for target in found)


def schedule_of(found: "RuleTypeDef") -> str:
    """Returns the schedule of a rule in a list."""
    return found.get("ScheduleExpression", "")


def state(schedule: str) -> TriggerState:
    """Reads the state of the rule of a schedule; ignores its target."""
    try:
        rule = events().describe_rule(Name=trigger_name(schedule))
    except events().exceptions.ResourceNotFoundException:
        rule = None
    return state_in_list(rule, schedule)


def put(schedule: str, known_state: TriggerState | None = None) -> bool:
    """Ensures that the rule exists, is enabled, and has our target; returns whether that took a change.

    ``known_state`` is the state that the caller has just read; it saves a DescribeRule. Targets of others are
    left alone.

    A correct rule is not put again, because EventBridge counts ``rate(...)`` from when a rule is put: the
    ticks of every job that shares the rule would move.

    Raises InvalidSchedule if EventBridge does not accept the schedule, and ScheduleLimitReached if the
    account has no room for another rule.
    """
    name = trigger_name(schedule)
    client = events()
    found = known_state or state(schedule)
    if found != "in step":
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
            if code_of(error) == "ValidationException":
                raise InvalidSchedule(
                    f"EventBridge does not accept {schedule}: expected a valid cron or rate expression"
                ) from None
            raise
        logger.info("rule put", extra={"rule": name, "schedule": schedule})
    if found != "missing" and is_complete(schedule):
        return found != "in step"
    if failure := _failure_of_entry(client.put_targets(Rule=name, Targets=[_target(schedule)]), "PutTargets"):
        raise failure
    return True


def remove(name: str) -> bool:
    """Removes our target and then the rule; False if it is already gone, or has targets of others."""
    try:
        answer = events().remove_targets(Rule=name, Ids=[_TARGET_ID])
        failure = _failure_of_entry(answer, "RemoveTargets")
        # The rule may exist even if the target does not.
        if failure and code_of(failure) != NOT_FOUND:
            raise failure
        events().delete_rule(Name=name)
    except ClientError as error:
        code = code_of(error)
        # EventBridge refuses to delete a rule with targets, and targets of others are not ours to remove.
        if code == "ValidationException":
            logger.warning("unused rule was kept, because it has targets of others", extra={"rule": name})
        elif code != NOT_FOUND:
            raise
        return False
    logger.info("rule removed", extra={"rule": name})
    return True


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
