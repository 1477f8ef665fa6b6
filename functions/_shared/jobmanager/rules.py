"""The EventBridge rules: one per unique schedule, shared by all jobs of the stage that have it.

Two changes of jobs may meet at one rule: the last user leaves while another arrives. No lock is needed,
because whoever acts on a rule looks again afterwards. Who arrives puts the rule, saves its job (which counts
it in the schedules table), and then settles the rule by the count. Who leaves saves, and settles too.
Settling puts or removes the rule, as the count says, until the count says the same before and after. So
whichever acts last on the rule has seen the last count. Each of these steps may be repeated.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Literal

from botocore.exceptions import ClientError

from jobmanager import schedules
from jobmanager.aws import events
from jobmanager.errors import AwsCallFailed, Contended, ScheduleLimitReached
from jobmanager.logs import logger
from jobmanager.schedule import InvalidSchedule
from jobmanager.settings import setting

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import TargetTypeDef

type RuleState = Literal["in step", "missing", "disabled", "different"]

_ATTEMPTS = 10
_TARGET_ID = "start-due-executions"


def rule_name(schedule: str) -> str:
    """The name of the rule of a canonical schedule; 64 characters at most."""
    digest = hashlib.sha256(schedule.encode()).hexdigest()[:16]
    return f"{setting('PREFIX')}-schedule-{digest}"


def put_rule(schedule: str) -> None:
    """Makes sure that the rule stands, is enabled, and starts the executions of this schedule.

    A rule that is as it should be is left alone: EventBridge counts ``rate(...)`` from the moment at which
    a rule is put, so putting it again would move the ticks of every job that shares it.
    Raises InvalidSchedule if EventBridge does not accept the schedule, and ScheduleLimitReached if the
    account may have no more rules.
    """
    name = rule_name(schedule)
    client = events()
    if rule_state(schedule) != "in step":
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
    if not _has_target(name, schedule):
        answer = client.put_targets(Rule=name, Targets=[_target(schedule)])
        if answer["FailedEntryCount"]:
            raise AwsCallFailed(f"PutTargets of {name}: {answer['FailedEntries']}")


def rule_state(schedule: str) -> RuleState:
    """Whether the rule stands, is enabled, and has this schedule; its target is not looked at."""
    try:
        rule = events().describe_rule(Name=rule_name(schedule))
    except events().exceptions.ResourceNotFoundException:
        return "missing"
    if rule.get("ScheduleExpression") != schedule:
        return "different"
    return "in step" if rule.get("State") == "ENABLED" else "disabled"


def settle_rule(schedule: str) -> None:
    """Makes the rule stand if some active job has its schedule, and go if none has."""
    for _ in range(_ATTEMPTS):
        is_used = schedules.job_count(schedule) > 0
        if is_used:
            put_rule(schedule)
        else:
            _remove_rule(rule_name(schedule))
            schedules.forget(schedule)
        if (schedules.job_count(schedule) > 0) == is_used:
            return
    raise Contended(f"Jobs keep entering and leaving {schedule}.")


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


def _has_target(name: str, schedule: str) -> bool:
    wanted = _target(schedule)
    found = events().list_targets_by_rule(Rule=name)["Targets"]
    return any(all(target.get(field) == value for field, value in wanted.items()) for target in found)


def _remove_rule(name: str) -> None:
    try:
        events().remove_targets(Rule=name, Ids=[_TARGET_ID])
        events().delete_rule(Name=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        return
    logger.info("rule removed", extra={"rule": name})
