"""Scheduler's API: what it accepts, what it answers, and who may call it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.aws_behaviour.scheduler.calls import CANNOT_ASSUME
from local.aws_behaviour.scheduler.requests import group_named_in
from tests.unit.local.aws_behaviour.emulated_scheduler import TRUST, EmulatedScheduler

DAILY = "rate(1 day)"


def error_of(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_schedule_is_shown_with_its_defaults(emulated: EmulatedScheduler) -> None:
    emulated.create("plain", DAILY)

    shown = emulated.client.get_schedule(Name="plain")

    del shown["ResponseMetadata"]
    created = datetime(2027, 3, 1, 12, tzinfo=UTC)
    assert shown == {
        "Arn": "arn:aws:scheduler:us-east-1:000000000000:schedule/default/plain",
        "Name": "plain",
        "GroupName": "default",
        "ScheduleExpression": DAILY,
        "ScheduleExpressionTimezone": "UTC",
        "State": "ENABLED",
        "ActionAfterCompletion": "NONE",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": emulated.target()
        | {"RetryPolicy": {"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185}},
        "CreationDate": created,
        "LastModificationDate": created,
    }


def test_an_update_resets_what_it_leaves_out(emulated: EmulatedScheduler) -> None:
    emulated.create(
        "full",
        DAILY,
        Description="told",
        State="DISABLED",
        ScheduleExpressionTimezone="Asia/Kathmandu",
        EndDate="2028-01-01T00:00:00Z",
        ActionAfterCompletion="DELETE",
    )
    emulated.passes(5)

    emulated.update("full", "rate(2 days)")

    shown = emulated.client.get_schedule(Name="full")
    names = ("State", "ScheduleExpressionTimezone", "ActionAfterCompletion", "ScheduleExpression")
    assert [shown[name] for name in names] == ["ENABLED", "UTC", "NONE", "rate(2 days)"]
    assert "Description" not in shown
    assert "EndDate" not in shown
    assert (shown["LastModificationDate"] - shown["CreationDate"]).total_seconds() == 5


def test_a_name_exists_once_in_a_group(emulated: EmulatedScheduler) -> None:
    emulated.client.create_schedule_group(Name="others")
    emulated.create("one", DAILY)
    emulated.create("one", DAILY, GroupName="others")

    with pytest.raises(ClientError) as again:
        emulated.create("one", DAILY)

    assert error_of(again)[0] == "ConflictException"
    assert again.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    emulated.client.delete_schedule(Name="one", GroupName="others")
    assert emulated.client.get_schedule(Name="one")["GroupName"] == "default"


def test_what_does_not_exist_is_not_found(emulated: EmulatedScheduler) -> None:
    client = emulated.client
    calls: list[Any] = [
        lambda: client.get_schedule(Name="none"),
        lambda: client.delete_schedule(Name="none"),
        lambda: emulated.update("none", DAILY),
        lambda: emulated.create("one", DAILY, GroupName="none"),
        lambda: client.list_schedules(GroupName="none"),
        lambda: client.get_schedule_group(Name="none"),
        lambda: client.delete_schedule_group(Name="none"),
    ]

    for call in calls:
        with pytest.raises(client.exceptions.ResourceNotFoundException) as missing:
            call()
        assert missing.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


@pytest.mark.parametrize("name", ["with space", "with/slash", "ümlaut", "a" * 65, "at@sign", "percent%41"])
def test_an_invalid_name_is_refused(emulated: EmulatedScheduler, name: str) -> None:
    with pytest.raises(ClientError) as refused:
        emulated.create(name, DAILY)

    code, message = error_of(refused)
    assert code == "ValidationException"
    assert message.startswith(
        f"1 validation error detected: Value '{name}' at 'name' failed to satisfy constraint: Member must"
    )


def test_all_violations_of_the_model_are_named(emulated: EmulatedScheduler) -> None:
    target = emulated.target(RoleArn="role", DeadLetterConfig={"Arn": "queue"})

    with pytest.raises(ClientError) as refused:
        emulated.create("a b", DAILY, GroupName="c d", Target=target)

    code, message = error_of(refused)
    assert code == "ValidationException"
    assert message.startswith("4 validation errors detected: ")
    for path in ("name", "groupName", "target.roleArn", "target.deadLetterConfig.arn"):
        assert f"at '{path}' failed to satisfy constraint: " in message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ScheduleExpression": "cron(bad)"}, "Invalid Schedule Expression cron(bad)."),
        ({"ScheduleExpression": "rate(0 minutes)"}, "Invalid Schedule Expression rate(0 minutes)."),
        ({"ScheduleExpression": " rate(1 day)"}, "Invalid Schedule Expression  rate(1 day)."),
        ({"ScheduleExpressionTimezone": "Mars/Phobos"}, "Timezone Mars/Phobos"),
        ({"ScheduleExpressionTimezone": "../../etc/passwd"}, "Timezone ../../etc/passwd"),
        ({"ScheduleExpressionTimezone": "europe/berlin"}, "Timezone europe/berlin"),
        ({"ScheduleExpressionTimezone": "+05:45"}, "Timezone +05:45"),
        ({"State": "PAUSED"}, "enum value set: [ENABLED, DISABLED]"),
        ({"ActionAfterCompletion": "KEEP"}, "enum value set: [NONE, DELETE]"),
        ({"FlexibleTimeWindow": {"Mode": "ON"}}, "enum value set: [OFF, FLEXIBLE]"),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}}, "MaximumWindowInMinutes"),
        ({"FlexibleTimeWindow": {"Mode": "OFF", "MaximumWindowInMinutes": 5}}, "MaximumWindowInMinutes"),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 1441}}, "1440"),
        ({"StartDate": "2027-03-01T11:54:59Z"}, "cannot be earlier than 5 minutes ago"),
        ({"EndDate": "2027-03-01T11:59:59Z"}, "EndDate you specify cannot be in the past"),
        (
            {"StartDate": "2027-03-03T00:00:00Z", "EndDate": "2027-03-02T00:00:00Z"},
            "EndDate you specify must be after the StartDate",
        ),
        ({"Description": "x" * 513}, "less than or equal to 512"),
    ],
)
def test_an_invalid_schedule_is_refused(
    emulated: EmulatedScheduler, fields: dict[str, Any], message: str
) -> None:
    for call in (emulated.client.create_schedule, emulated.client.update_schedule):
        with pytest.raises(ClientError) as refused:
            call(**emulated.fields(**({"Name": "odd", "ScheduleExpression": DAILY} | fields)))

        code, found = error_of(refused)
        assert code == "ValidationException"
        assert message in found
    assert emulated.schedules() == []


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"RetryPolicy": {"MaximumRetryAttempts": 186}}, "less than or equal to 185"),
        ({"RetryPolicy": {"MaximumEventAgeInSeconds": 86_401}}, "less than or equal to 86400"),
        ({"Input": "x" * 262_145}, "262144 bytes"),
        ({"Arn": "nonsense"}, "is not a valid ARN"),
        ({"Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage"}, "has no target"),
        ({"Arn": "arn:aws:lambda:us-east-1:000000000000:function:f"}, "Invalid RequestJson"),
        (
            {
                "Arn": "arn:aws:states:us-east-1:000000000000:stateMachine:m",
                "Input": '{"at": <aws.scheduler.scheduled-time>}',
            },
            "Invalid RequestJson",
        ),
        ({"DeadLetterConfig": {"Arn": "arn:aws:sqs:us-east-1:000000000000:in-order.fifo"}}, "pattern"),
    ],
)
def test_an_invalid_target_is_refused(
    emulated: EmulatedScheduler, target: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError) as refused:
        emulated.create("odd", DAILY, Target=emulated.target(**target))

    code, found = error_of(refused)
    assert code == "ValidationException"
    assert message in found


def test_valid_schedules_are_accepted(emulated: EmulatedScheduler) -> None:
    emulated.create("zone", DAILY, ScheduleExpressionTimezone="Australia/Lord_Howe")
    emulated.create("started", DAILY, StartDate="2027-03-01T11:55:01Z")
    emulated.create("window", DAILY, FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15})
    emulated.create("once", "at(2027-04-01T00:00:00)", EndDate="2020-01-01T00:00:00Z")
    emulated.create("largest", DAILY, Target=emulated.target(Input="x" * 262_144))
    emulated.create("a" * 64, DAILY)

    assert emulated.schedules() == ["a" * 64, "largest", "once", "started", "window", "zone"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"text"',
        b'{"Target": []}',
        b'{"ScheduleExpression": 5}',
        b'{"StartDate": "soon"}',
        b"\xff",
    ],
)
def test_a_body_of_the_wrong_type_is_refused(emulated: EmulatedScheduler, body: bytes) -> None:
    status, _, answer = emulated.post("/schedules/odd", body)

    assert status == 400
    assert json.loads(answer)["__type"] in ("SerializationException", "ValidationException")


def test_a_role_must_trust_scheduler(emulated: EmulatedScheduler) -> None:
    statement = {**TRUST["Statement"][0], "Principal": {"Service": "lambda.amazonaws.com"}}
    other = emulated.create_role("other", {**TRUST, "Statement": [statement]})
    emulated.create("one", DAILY)

    for role in (
        other,
        emulated.role.replace("invokes", "none"),
        emulated.role.replace(":role/", ":role/p/"),
    ):
        for call in (emulated.create, emulated.update):
            with pytest.raises(ClientError) as refused:
                call("one" if call == emulated.update else "new", DAILY, Target=emulated.target(RoleArn=role))
            assert error_of(refused) == ("ValidationException", CANNOT_ASSUME)


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("aws:SourceArn", "arn:aws:scheduler:us-east-1:000000000000:schedule-group/default", True),
        ("aws:SourceArn", "arn:aws:scheduler:us-east-1:000000000000:schedule-group/others", False),
        # "Do not scope the aws:SourceArn statement to a specific schedule or a schedule name prefix."
        ("aws:SourceArn", "arn:aws:scheduler:us-east-1:000000000000:schedule/default/one", False),
        ("aws:SourceAccount", "000000000000", True),
        ("aws:SourceAccount", "111111111111", False),
    ],
)
def test_the_source_of_a_call_is_the_group(
    emulated: EmulatedScheduler, key: str, value: str, accepted: bool
) -> None:
    statement = {**TRUST["Statement"][0], "Condition": {"StringEquals": {key: value}}}
    emulated.trust("invokes", {**TRUST, "Statement": [statement]})

    if accepted:
        emulated.create("one", DAILY)
    else:
        with pytest.raises(ClientError, match="must allow AWS EventBridge Scheduler"):
            emulated.create("one", DAILY)


def test_a_deny_in_the_trust_policy_wins(emulated: EmulatedScheduler) -> None:
    [allow] = TRUST["Statement"]
    emulated.trust("invokes", {**TRUST, "Statement": [allow, {**allow, "Effect": "Deny"}]})

    with pytest.raises(ClientError, match="must allow AWS EventBridge Scheduler"):
        emulated.create("one", DAILY)


def pass_role(resource: str, service: str) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": resource,
        "Condition": {"StringEquals": {"iam:PassedToService": service}},
    }


def test_the_caller_must_be_allowed_to_pass_the_role(emulated: EmulatedScheduler) -> None:
    emulated.create("one", DAILY)
    emulated.as_user(
        pass_role(emulated.role, "lambda.amazonaws.com"), pass_role("*:role/other", "scheduler.amazonaws.com")
    )

    for call, name in ((emulated.create, "two"), (emulated.update, "one")):
        with pytest.raises(ClientError) as refused:
            call(name, DAILY)
        assert error_of(refused) == (
            "AccessDeniedException",
            "User: arn:aws:iam::000000000000:user/caller is not authorized to perform: iam:PassRole"
            f" on resource: {emulated.role} because no identity-based policy allows the iam:PassRole action",
        )


def test_a_caller_who_may_pass_the_role_to_scheduler_creates_a_schedule(emulated: EmulatedScheduler) -> None:
    emulated.as_user(pass_role(emulated.role, "scheduler.amazonaws.com"))

    emulated.create("one", DAILY)

    assert emulated.schedules() == ["one"]


def test_a_repeated_request_with_its_token_is_answered_as_before(emulated: EmulatedScheduler) -> None:
    first = emulated.create("one", "at(2027-03-01T12:00:05)", ClientToken="token")
    emulated.passes(10)

    again = emulated.create("one", "at(2027-03-01T12:00:05)", ClientToken="token")
    emulated.passes(10)

    assert again["ScheduleArn"] == first["ScheduleArn"]
    assert emulated.messages() == ["2027-03-01T12:00:05Z"]
    emulated.client.delete_schedule(Name="one", ClientToken="token")
    emulated.client.delete_schedule(Name="one", ClientToken="token")
    assert emulated.schedules() == []


def test_a_token_of_another_request_is_refused(emulated: EmulatedScheduler) -> None:
    emulated.create("one", DAILY, ClientToken="token")

    with pytest.raises(ClientError) as refused:
        emulated.create("two", DAILY, ClientToken="token")

    assert error_of(refused)[0] == "ConflictException"


def test_a_request_that_was_refused_may_be_repeated_with_its_token(emulated: EmulatedScheduler) -> None:
    emulated.create("one", DAILY)
    with pytest.raises(ClientError):
        emulated.create("one", DAILY, ClientToken="token")
    emulated.client.delete_schedule(Name="one")

    emulated.create("one", DAILY, ClientToken="token")

    assert emulated.schedules() == ["one"]


def test_a_token_is_forgotten_in_time(emulated: EmulatedScheduler) -> None:
    emulated.create("one", DAILY, ClientToken="token")
    emulated.at("2027-03-01T12:10:00+00:00")

    with pytest.raises(ClientError, match="already exists"):
        emulated.create("one", DAILY, ClientToken="token")


def test_schedules_are_listed_in_pages(emulated: EmulatedScheduler) -> None:
    names = [f"job-{number}" for number in range(5)]
    for name in reversed(names):
        emulated.create(name, DAILY)

    first = emulated.client.list_schedules(MaxResults=2)
    emulated.client.delete_schedule(Name="job-0")
    second = emulated.client.list_schedules(MaxResults=2, NextToken=first["NextToken"])
    third = emulated.client.list_schedules(MaxResults=2, NextToken=second["NextToken"])

    pages = [[schedule["Name"] for schedule in each["Schedules"]] for each in (first, second, third)]
    assert pages == [names[:2], names[2:4], names[4:]]
    assert "NextToken" not in third
    assert first["Schedules"][0]["Target"] == {"Arn": emulated.queue}


def test_a_list_has_at_most_a_hundred_schedules(emulated: EmulatedScheduler) -> None:
    for number in range(101):
        emulated.create(f"job-{number:03}", DAILY)

    pages = [len(each["Schedules"]) for each in emulated.client.get_paginator("list_schedules").paginate()]

    assert pages == [100, 1]
    with pytest.raises(ClientError, match="less than or equal to 100"):
        emulated.client.list_schedules(MaxResults=101)


def test_a_list_is_filtered_by_group_prefix_and_state(emulated: EmulatedScheduler) -> None:
    emulated.client.create_schedule_group(Name="others")
    emulated.create("a-1", DAILY)
    emulated.create("a-2", DAILY, State="DISABLED")
    emulated.create("a-3", DAILY, GroupName="others")
    emulated.create("b-1", DAILY)

    def listed(**filters: str) -> list[str]:
        return [schedule["Name"] for schedule in emulated.client.list_schedules(**filters)["Schedules"]]

    assert listed(NamePrefix="a-", GroupName="default", State="ENABLED") == ["a-1"]
    assert listed(NamePrefix="a-") == ["a-1", "a-2", "a-3"]
    assert listed(GroupName="others") == ["a-3"]
    assert listed(State="DISABLED") == ["a-2"]


@pytest.mark.parametrize("token", ["nonsense", "bnVsbA==", "eyJhZnRlciI6IDV9", "W10="])
def test_an_invalid_token_of_a_list_is_refused(emulated: EmulatedScheduler, token: str) -> None:
    with pytest.raises(ClientError, match="Invalid NextToken"):
        emulated.client.list_schedules(NextToken=token)


def test_groups_are_listed_in_pages_and_deleted_with_their_schedules(emulated: EmulatedScheduler) -> None:
    emulated.client.create_schedule_group(Name="more")
    emulated.create("gone", "at(2027-03-01T12:00:05)", GroupName="more")

    first = emulated.client.list_schedule_groups(MaxResults=1)
    second = emulated.client.list_schedule_groups(MaxResults=1, NextToken=first["NextToken"])
    emulated.client.delete_schedule_group(Name="more")
    emulated.passes(10)

    names = [group["Name"] for each in (first, second) for group in each["ScheduleGroups"]]
    assert names == ["default", "more"]
    assert "NextToken" not in second
    assert (emulated.schedules(), emulated.messages()) == ([], [])


@pytest.mark.parametrize(
    ("method", "body", "query", "group"),
    [
        ("POST", b"{}", {}, "default"),
        ("POST", b'{"GroupName": "others"}', {}, "others"),
        ("PUT", b'{"GroupName": "others"}', {"groupName": ["mine"]}, "others"),
        ("PUT", b"{}", {"groupName": ["mine"]}, "default"),
        ("GET", b"", {"groupName": ["others"]}, "others"),
        ("DELETE", b'{"GroupName": "mine"}', {"groupName": "others"}, "others"),
        ("DELETE", b"", {}, "default"),
        ("POST", b"nonsense", {}, "default"),
        ("POST", b'{"GroupName": 5}', {}, "default"),
    ],
)
def test_iam_checks_calls_against_the_schedules_group(
    method: str, body: bytes, query: dict[str, Any], group: str
) -> None:
    assert group_named_in(method, body, query) == group
