"""The EventBridge rules: one per unique schedule, shared by all jobs of the stage that have it.

Two changes of jobs may meet at one rule: the last user leaves while another arrives. No lock is needed,
because both sides look again after they acted. Who arrives puts the rule, saves its job (which counts it in
the schedules table), and then confirms the rule. Who leaves finds the count at zero, removes the rule, and
then removes the count on the condition that it is still zero; where it is not, it puts the rule back. So
whichever acts last on the rule sees the other. Each of these steps may be repeated.
"""

import hashlib
import json
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from jobmanager import schedules
from jobmanager.aws import events
from jobmanager.errors import AwsCallFailed
from jobmanager.logs import logger
from jobmanager.settings import setting

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import TargetTypeDef

_TARGET_ID = "start-due-executions"


def rule_name(schedule: str) -> str:
    """The name of the rule of a canonical schedule; 64 characters at most."""
    digest = hashlib.sha256(schedule.encode()).hexdigest()[:16]
    return f"{setting('PREFIX')}-schedule-{digest}"


def put_rule(schedule: str) -> None:
    """Makes sure that the rule stands, is enabled, and starts the executions of this schedule.

    A rule that is as it should be is left alone: EventBridge counts ``rate(...)`` from the moment at which
    a rule is put, so putting it again would move the ticks of every job that shares it.
    """
    name = rule_name(schedule)
    if not _is_in_step(name, schedule):
        events().put_rule(
            Name=name,
            ScheduleExpression=schedule,
            State="ENABLED",
            Description=f"Ticks of the jobs with the schedule {schedule}",
            Tags=[
                {"Key": "stage", "Value": setting("STAGE")},
                {"Key": "managed-by", "Value": setting("PREFIX")},
            ],
        )
        logger.info("rule put", extra={"rule": name, "schedule": schedule})
    answer = events().put_targets(Rule=name, Targets=[_target(schedule)])
    if answer["FailedEntryCount"]:
        raise AwsCallFailed(f"PutTargets of {name}: {answer['FailedEntries']}")


def confirm_rule(schedule: str) -> None:
    """Puts the rule back if it went while a job arrived; costs one read if it did not."""
    if not _is_in_step(rule_name(schedule), schedule):
        put_rule(schedule)


def release_rule(schedule: str) -> None:
    """Removes the rule, unless some job uses it."""
    if schedules.job_count(schedule) > 0:
        return
    _remove_rule(rule_name(schedule))
    if not schedules.forget(schedule):
        put_rule(schedule)


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


def _is_in_step(name: str, schedule: str) -> bool:
    try:
        rule = events().describe_rule(Name=name)
    except events().exceptions.ResourceNotFoundException:
        return False
    return rule.get("ScheduleExpression") == schedule and rule.get("State") == "ENABLED"


def _remove_rule(name: str) -> None:
    try:
        events().remove_targets(Rule=name, Ids=[_TARGET_ID])
        events().delete_rule(Name=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
    logger.info("rule removed", extra={"rule": name})
