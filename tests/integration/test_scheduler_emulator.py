"""EventBridge Scheduler behaves as AWS's does, where local/aws_behaviour/scheduler corrects the emulator.

Each test creates its own functions, schedules and roles. It passes on AWS and on a faithful emulator. The
unit tests in tests/unit/local/aws_behaviour have the rest, with a clock that they set.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from botocore.exceptions import ClientError

from tests.integration.polling import patient, poll
from tests.integration.workshop import SENDS_ITS_EVENT, Workshop

ZONE = "Asia/Kathmandu"  # 5:45 hours ahead of UTC
KEYWORDS = json.dumps(
    {name: f"<aws.scheduler.{name}>" for name in ("scheduled-time", "schedule-arn", "attempt-number")}
)


class Schedules:
    """Schedules of one test, with a role that may invoke its function and send to its dead-letter queue."""

    def __init__(self, workshop: Workshop, aws: Any) -> None:
        self.client: Any = aws.client("scheduler")
        self._owner = self.client
        self.function = workshop.function(SENDS_ITS_EVENT)
        self.name = workshop.name
        self._iam = workshop.iam
        self.dead_letters = workshop.sqs.create_queue(QueueName=f"{workshop.name}-dead")["QueueUrl"]
        attributes = workshop.sqs.get_queue_attributes(
            QueueUrl=self.dead_letters, AttributeNames=["QueueArn"]
        )["Attributes"]
        self._dead_letters_arn = attributes["QueueArn"]
        self._role = f"{workshop.name}-invokes"
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "scheduler.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
        self.role = self._iam.create_role(
            RoleName=self._role,
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        )["Role"]["Arn"]
        self.allow("lambda:InvokeFunction", "sqs:SendMessage")
        workshop.undo.insert(0, self.delete_all)
        workshop.undo += [
            lambda: workshop.sqs.delete_queue(QueueUrl=self.dead_letters),
            lambda: self._iam.delete_role_policy(RoleName=self._role, PolicyName="Own"),
            lambda: self._iam.delete_role(RoleName=self._role),
        ]

    def allow(self, *actions: str) -> None:
        statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self._iam.put_role_policy(RoleName=self._role, PolicyName="Own", PolicyDocument=policy)

    def put(self, expression: str, suffix: str = "", update: bool = False, **fields: Any) -> str:
        target = {
            "Arn": self.function,
            "RoleArn": self.role,
            "Input": KEYWORDS,
            "DeadLetterConfig": {"Arn": self._dead_letters_arn},
        }
        put = self.client.update_schedule if update else self.client.create_schedule
        answer = put(
            Name=self.name + suffix,
            ScheduleExpression=expression,
            ScheduleExpressionTimezone=ZONE,
            FlexibleTimeWindow={"Mode": "OFF"},
            Target=target,
            **fields,
        )
        return str(answer["ScheduleArn"])

    def left(self) -> list[str]:
        listed = self._owner.list_schedules(NamePrefix=self.name)["Schedules"]
        return [schedule["Name"] for schedule in listed]

    def delete_all(self) -> None:
        for name in self.left():
            self._owner.delete_schedule(Name=name)


@pytest.fixture
def schedules(workshop: Workshop, aws: Any) -> Schedules:
    return Schedules(workshop, aws)


def soon(seconds: int = 3) -> datetime:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)


def once(at: datetime) -> str:
    return f"at({at.astimezone(ZoneInfo(ZONE)):%Y-%m-%dT%H:%M:%S})"


def scheduled_times(messages: list[dict[str, Any]]) -> list[datetime]:
    return [datetime.fromisoformat(message["event"]["scheduled-time"]) for message in messages]


@pytest.mark.slow
def test_a_minute_in_a_zone_with_an_odd_offset_fires_at_its_minute(
    workshop: Workshop, schedules: Schedules
) -> None:
    minute = soon(75).replace(second=0)
    local = minute.astimezone(ZoneInfo(ZONE))
    arn = schedules.put(f"cron({local.minute} {local.hour} * * ? *)")

    [message] = workshop.messages(1, deadline_seconds=130)
    late = (datetime.now(UTC) - minute).total_seconds()

    assert message["event"] == {
        "scheduled-time": f"{minute:%Y-%m-%dT%H:%M:%SZ}",
        "schedule-arn": arn,
        "attempt-number": "1",
    }
    assert 0 <= late < patient(60)


def test_a_one_time_schedule_fires_in_its_zone_and_again_after_an_update(
    workshop: Workshop, schedules: Schedules
) -> None:
    first = soon()
    schedules.put(once(first))
    assert scheduled_times(workshop.messages(1)) == [first]

    second = soon()
    schedules.put(once(second), update=True)
    assert scheduled_times(workshop.messages(1)) == [second]
    assert schedules.left() == [workshop.name]

    schedules.delete_all()
    third = soon()
    schedules.put(once(third), ActionAfterCompletion="DELETE")
    assert scheduled_times(workshop.messages(1)) == [third]
    poll(lambda: not schedules.left(), patient(60), "deletion of the schedule that completed")


def test_a_rate_fires_at_once(workshop: Workshop, schedules: Schedules) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    schedules.put("rate(1 day)")

    [fired] = scheduled_times(workshop.messages(1))

    assert before <= fired <= datetime.now(UTC)


def test_an_invocation_that_the_role_may_not_make_is_a_dead_letter(
    workshop: Workshop, schedules: Schedules
) -> None:
    schedules.allow("sqs:SendMessage")
    at = soon()
    arn = schedules.put(once(at))

    def dead_letter() -> Any:
        return workshop.sqs.receive_message(
            QueueUrl=schedules.dead_letters, MessageAttributeNames=["All"]
        ).get("Messages")

    [letter] = poll(dead_letter, patient(60), "dead letter")
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert attributes["ERROR_CODE"] == "AccessDeniedException"
    assert "is not authorized to perform: lambda:InvokeFunction" in attributes["ERROR_MESSAGE"]
    assert attributes["SCHEDULE_ARN"] == arn
    assert attributes["SCHEDULED_TIME"] == f"{at:%Y-%m-%dT%H:%M:%SZ}"
    assert json.loads(letter["Body"])["scheduled-time"] == attributes["SCHEDULED_TIME"]


def test_a_user_may_create_only_its_own_schedules_with_a_role_that_it_may_pass(
    workshop: Workshop, schedules: Schedules
) -> None:
    region, account = schedules.function.split(":")[3:5]
    group, owner = f"{workshop.name}-group", schedules.client
    owner.create_schedule_group(Name=group)
    workshop.undo.insert(0, lambda: owner.delete_schedule_group(Name=group))
    own = f"arn:aws:scheduler:{region}:{account}:schedule/default/{workshop.name}-mine-*"
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "scheduler:*", "Resource": own},
            {
                "Effect": "Allow",
                "Action": "iam:PassRole",
                "Resource": schedules.role,
                "Condition": {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}},
            },
        ],
    }
    schedules.client = workshop.as_user(policy).client("scheduler")

    schedules.put("rate(1 day)", suffix="-mine-1", State="DISABLED")

    with pytest.raises(ClientError, match="perform: scheduler:CreateSchedule"):
        schedules.put("rate(1 day)", suffix="-other")
    with pytest.raises(ClientError, match="perform: scheduler:CreateSchedule"):
        schedules.put("rate(1 day)", suffix="-mine-2", GroupName=group)
    schedules.role = workshop.role
    with pytest.raises(ClientError, match="perform: iam:PassRole"):
        schedules.put("rate(1 day)", suffix="-mine-2", State="DISABLED")
    schedules.client.delete_schedule(Name=f"{workshop.name}-mine-1")


def test_a_role_that_does_not_trust_scheduler_is_refused(workshop: Workshop, schedules: Schedules) -> None:
    schedules.role = workshop.role

    with pytest.raises(ClientError, match="must allow AWS EventBridge Scheduler to assume the role"):
        schedules.put("rate(1 day)")


def test_an_invalid_zone_or_expression_is_refused_and_a_page_has_a_token(schedules: Schedules) -> None:
    with pytest.raises(ClientError, match="Invalid Schedule Expression cron"):
        schedules.put("cron(0 0 * * * *)")
    for number in range(3):
        schedules.put("rate(1 day)", suffix=f"-{number}", State="DISABLED")

    pages = schedules.client.get_paginator("list_schedules").paginate(
        NamePrefix=schedules.name, PaginationConfig={"PageSize": 2}
    )

    assert [len(page["Schedules"]) for page in pages] == [2, 1]
