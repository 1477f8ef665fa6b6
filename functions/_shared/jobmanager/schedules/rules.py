"""The EventBridge rules: one per unique schedule, shared by all jobs of the stage that have it.

Two changes of jobs may meet at one rule: the last user leaves while another arrives. No lock is needed,
because whoever acts on a rule looks again afterwards. Who arrives puts the rule, saves its job (which counts
it in the schedules table), and then settles the rule by the count. Who leaves saves, and settles too.
Settling puts or removes the rule, as the count says, until the count says the same before and after. So
whichever acts last on the rule has seen the last count. Each of these steps may be repeated.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from jobmanager.aws.clients import events
from jobmanager.core.errors import AwsCallFailed, Contended, ScheduleLimitReached
from jobmanager.core.retry import tries
from jobmanager.core.settings import setting
from jobmanager.runtime.logs import logger
from jobmanager.schedules import counts
from jobmanager.schedules.expression import InvalidSchedule

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import DescribeRuleResponseTypeDef, RuleTypeDef, TargetTypeDef

type RuleState = Literal["in step", "missing", "disabled", "different"]
type Done = Literal["put", "removed"]

_MOST_TRIES = 10
# Somebody is at the same rule, or at the same count, just now. The SDK tries neither again.
# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_RemoveTargets.html#API_RemoveTargets_Errors
_BY_OTHERS_TOO = ("ConcurrentModificationException", "TransactionConflictException")
_TARGET_ID = "start-due-executions"
_DIGEST = re.compile(r"[0-9a-f]{16}")


def rule_name(schedule: str) -> str:
    """The name of the rule of a canonical schedule; 64 characters at most."""
    digest = hashlib.sha256(schedule.encode()).hexdigest()[:16]
    return f"{setting('PREFIX')}-schedule-{digest}"


def stage_rules() -> "dict[str, RuleTypeDef]":
    """The rules of this stage's schedules, by name; a name that :func:`rule_name` cannot make is not ours.

    ListRules tells name, state and schedule of 100 rules at a time, and nothing of their targets.
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
    """What is wrong with the rule of a schedule, if anything; its target is not looked at."""
    if rule is None:
        return "missing"
    if rule.get("ScheduleExpression") != schedule:
        return "different"
    return "in step" if rule.get("State") == "ENABLED" else "disabled"


def put_rule(schedule: str, seen: RuleState | None = None) -> bool:
    """Makes sure that the rule stands, is enabled, and starts the executions of this schedule.

    Answers whether anything had to be changed for that. Other targets than ours are left alone. With what
    was ``seen`` of the rule just now, EventBridge is not asked for it again.

    A rule that is as it should be is left alone: EventBridge counts ``rate(...)`` from the moment at which
    a rule is put, so putting it again would move the ticks of every job that shares it.
    Raises InvalidSchedule if EventBridge does not accept the schedule, and ScheduleLimitReached if the
    account may have no more rules.
    """
    name = rule_name(schedule)
    client = events()
    state = seen or rule_state(schedule)
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
                "schedule that is in use, or have the quota raised"
            ) from None
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationException":
                raise InvalidSchedule(f"EventBridge does not accept {schedule}") from None
            raise
        logger.info("rule put", extra={"rule": name, "schedule": schedule})
    if state != "missing" and has_target(schedule):
        return state != "in step"
    answer = client.put_targets(Rule=name, Targets=[_target(schedule)])
    if answer["FailedEntryCount"]:
        raise AwsCallFailed(f"PutTargets of {name}: {answer['FailedEntries']}")
    return True


def rule_state(schedule: str) -> RuleState:
    """Whether the rule stands, is enabled, and has this schedule; its target is not looked at."""
    try:
        rule = events().describe_rule(Name=rule_name(schedule))
    except events().exceptions.ResourceNotFoundException:
        rule = None
    return state_of(rule, schedule)


def settle_rule(schedule: str, seen: RuleState | None = None) -> Done | None:
    """Makes the rule stand if some active job has its schedule, and go if none has.

    Answers what was done to it last; None if all was as it should be. ``seen``: as :func:`put_rule` has it.
    """
    done: Done | None = None
    for _ in tries(_MOST_TRIES):
        is_used = counts.job_count(schedule) > 0
        try:
            if is_used:
                done = "put" if put_rule(schedule, seen) else done
            else:
                done = "removed" if remove_rule(rule_name(schedule)) else done
                counts.forget(schedule)
            if (counts.job_count(schedule) > 0) == is_used:
                return done
        except ClientError as error:
            if error.response["Error"]["Code"] not in _BY_OTHERS_TOO:
                raise
        seen = None
    raise Contended(f"Jobs keep entering and leaving {schedule}.")


def settle_rules(schedules: Iterable[str]) -> None:
    """Settles the rule of each of these canonical schedules."""
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
    """Whether the rule has our target as it should be; False too if there is no rule."""
    wanted = _target(schedule)
    try:
        found = events().list_targets_by_rule(Rule=rule_name(schedule))["Targets"]
    except events().exceptions.ResourceNotFoundException:
        return False
    return any(all(target.get(field) == value for field, value in wanted.items()) for target in found)


def remove_rule(name: str) -> bool:
    """Removes a rule with our target; False if it is gone already, or stays as others target something."""
    try:
        answer = events().remove_targets(Rule=name, Ids=[_TARGET_ID])
        if answer["FailedEntryCount"]:
            raise AwsCallFailed(f"RemoveTargets of {name}: {answer['FailedEntries']}")
        events().delete_rule(Name=name)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        # EventBridge deletes no rule that has targets. What is not ours is not taken away.
        if code == "ValidationException":
            logger.warning("a rule that no job needs has targets of others", extra={"rule": name})
        elif code != "ResourceNotFoundException":
            raise
        return False
    logger.info("rule removed", extra={"rule": name})
    return True
