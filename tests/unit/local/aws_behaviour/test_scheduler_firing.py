"""How Scheduler fires: what it sends, as which role, and what it does if that fails."""

import json
from typing import Any

import pytest
from ministack.core import responses
from ministack.services import scheduler, sqs

from tests.unit.local.aws_behaviour.emulated_scheduler import TRUST, EmulatedScheduler

REFUSED = {"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": "*"}


def test_a_schedule_fires_in_its_zone_and_once_for_each_time(emulated: EmulatedScheduler) -> None:
    zone = {"ScheduleExpressionTimezone": "Asia/Kathmandu"}
    emulated.create("at-15", "at(2027-03-01T18:00:00)", **zone)  # 12:15 in UTC
    emulated.create("each-day", "cron(1 18 * * ? *)", **zone)

    emulated.at("2027-03-01T12:14:59+00:00")
    assert emulated.messages() == []
    emulated.passes(61)

    assert emulated.messages() == ["2027-03-01T12:15:00Z", "2027-03-01T12:16:00Z"]
    emulated.passes(120)
    assert emulated.messages() == []


def test_times_that_passed_while_nobody_looked_are_made_up_for(emulated: EmulatedScheduler) -> None:
    emulated.create("often", "cron(* * * * ? *)")
    emulated.passes(1)
    emulated.messages()

    emulated.at("2027-03-01T12:03:30+00:00")

    assert emulated.messages() == [f"2027-03-01T12:0{minute}:00Z" for minute in (1, 2, 3)]


def test_an_at_that_fired_stays_and_does_not_fire_again(emulated: EmulatedScheduler) -> None:
    emulated.create("once", "at(2027-03-01T12:00:05)")

    emulated.passes(60)

    assert emulated.messages() == ["2027-03-01T12:00:05Z"]
    assert emulated.schedules() == ["once"]


def test_an_at_that_fired_and_is_updated_fires_again(emulated: EmulatedScheduler) -> None:
    emulated.create("once", "at(2027-03-01T12:00:05)")
    emulated.passes(10)

    emulated.update("once", "at(2027-03-01T12:00:20)")
    emulated.passes(20)

    assert emulated.messages() == ["2027-03-01T12:00:05Z", "2027-03-01T12:00:20Z"]


def test_an_at_that_fired_and_is_created_again_fires_again(emulated: EmulatedScheduler) -> None:
    emulated.create("once", "at(2027-03-01T12:00:05)")
    emulated.passes(10)

    emulated.client.delete_schedule(Name="once")
    emulated.create("once", "at(2027-03-01T12:00:20)")
    emulated.passes(20)

    assert emulated.messages() == ["2027-03-01T12:00:05Z", "2027-03-01T12:00:20Z"]


def test_an_at_in_the_past_fires_at_once(emulated: EmulatedScheduler) -> None:
    emulated.create("late", "at(2027-02-01T12:00:00)")

    emulated.passes(2)

    assert emulated.messages() == ["2027-02-01T12:00:00Z"]


def test_an_updated_schedule_fires_at_its_new_times_only(emulated: EmulatedScheduler) -> None:
    emulated.create("moved", "cron(5 12 * * ? *)")
    emulated.update("moved", "cron(5 12 * * ? *)", ScheduleExpressionTimezone="Asia/Kathmandu")

    emulated.at("2027-03-01T12:05:01+00:00")

    assert emulated.messages() == []


def test_a_deleted_schedule_does_not_fire(emulated: EmulatedScheduler) -> None:
    emulated.create("gone", "at(2027-03-01T12:00:05)")
    emulated.client.delete_schedule(Name="gone")

    emulated.passes(10)

    assert emulated.messages() == []


def test_a_disabled_schedule_fires_only_what_is_due_after_it_was_enabled(emulated: EmulatedScheduler) -> None:
    emulated.create("off", "cron(* * * * ? *)", State="DISABLED")
    emulated.at("2027-03-01T12:10:30+00:00")
    assert emulated.messages() == []

    emulated.update("off", "cron(* * * * ? *)", State="ENABLED")
    emulated.at("2027-03-01T12:11:00+00:00")

    assert emulated.messages() == ["2027-03-01T12:11:00Z"]


def test_a_rate_fires_at_once_and_then_after_each_period(emulated: EmulatedScheduler) -> None:
    emulated.create("often", "rate(1 minute)")

    emulated.passes(121)

    assert emulated.messages() == [f"2027-03-01T12:0{minute}:00Z" for minute in (0, 1, 2)]


@pytest.mark.parametrize(
    ("expression", "dates"),
    [
        ("at(2027-03-01T12:02:00)", {}),
        ("cron(* * * * ? *)", {"EndDate": "2027-03-01T12:02:30Z"}),
        ("rate(2 minutes)", {"EndDate": "2027-03-01T12:03:00Z"}),
    ],
)
def test_a_completed_schedule_is_deleted_if_it_says_so(
    emulated: EmulatedScheduler, expression: str, dates: dict[str, str]
) -> None:
    emulated.create("done", expression, ActionAfterCompletion="DELETE", **dates)
    emulated.create("kept", expression, ActionAfterCompletion="NONE", **dates)

    emulated.at("2027-03-01T12:01:59+00:00")
    assert emulated.schedules() == ["done", "kept"]
    emulated.passes(1)

    assert emulated.schedules() == ["kept"]
    assert set(emulated.messages()) >= {"2027-03-01T12:02:00Z"}


def test_a_recurring_schedule_without_an_end_is_not_deleted(emulated: EmulatedScheduler) -> None:
    emulated.create("endless", "rate(1 minute)", ActionAfterCompletion="DELETE")

    emulated.passes(100)

    assert emulated.schedules() == ["endless"]


def test_keywords_in_the_input_become_values(emulated: EmulatedScheduler) -> None:
    names = ("schedule-arn", "scheduled-time", "execution-id", "attempt-number", "unknown")
    text = json.dumps({name: f"<aws.scheduler.{name}>" for name in names})
    emulated.create("filled", "at(2027-03-01T12:00:05)", Target=emulated.target(Input=text))

    emulated.passes(10)

    [filled] = map(json.loads, emulated.messages())
    execution = filled.pop("execution-id")
    assert len(execution) == 16
    assert int(execution, 16) >= 0
    assert filled == {
        "schedule-arn": "arn:aws:scheduler:us-east-1:000000000000:schedule/default/filled",
        "scheduled-time": "2027-03-01T12:00:05Z",
        "attempt-number": "1",
        "unknown": "<aws.scheduler.unknown>",
    }


def test_a_schedule_without_input_sends_an_event(emulated: EmulatedScheduler) -> None:
    target = emulated.target()
    del target["Input"]
    emulated.create("silent", "at(2027-03-01T12:00:05)", Target=target)

    emulated.passes(10)

    [event] = map(json.loads, emulated.messages())
    assert len(event.pop("id")) == 36
    assert event == {
        "version": "0",
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": "000000000000",
        "time": "2027-03-01T12:00:05Z",
        "region": "us-east-1",
        "resources": ["arn:aws:scheduler:us-east-1:000000000000:schedule/default/silent"],
        "detail": "{}",
    }


def test_a_fifo_queue_gets_the_message_group_of_the_schedule(emulated: EmulatedScheduler) -> None:
    queue = emulated.create_queue("in-order.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    emulated.allow("invokes", "sqs:SendMessage")
    target = emulated.target(Arn=queue, SqsParameters={"MessageGroupId": "one"})
    emulated.create("grouped", "at(2027-03-01T12:00:05)", Target=target)

    emulated.passes(10)

    found = sqs._queue_by_arn(queue)
    assert found is not None
    assert [message["group_id"] for message in found["messages"]] == ["one"]


def dead_letter_of(emulated: EmulatedScheduler, **target: Any) -> dict[str, str]:
    """The attributes of the only dead letter of a schedule that fails, but for its ids."""
    emulated.create("fails", "at(2027-03-01T12:00:05)", Target=emulated.target(**target))
    emulated.passes(10)
    [letter] = emulated.letters()
    assert len(letter.pop("EXECUTION_ID")) == 16
    return letter


def test_a_call_that_the_role_may_not_make_is_a_dead_letter_at_once(emulated: EmulatedScheduler) -> None:
    emulated.allow("invokes", "sqs:SendMessage", resource=emulated.dead_letters)

    letter = dead_letter_of(emulated)

    message = letter.pop("ERROR_MESSAGE")
    assert message.startswith("User: arn:aws:sts::000000000000:assumed-role/invokes/")
    assert message.endswith(
        f" is not authorized to perform: sqs:SendMessage on resource: {emulated.queue}"
        " because no identity-based policy allows the sqs:SendMessage action"
    )
    assert letter == {
        "ERROR_CODE": "AccessDenied",
        "IS_PAYLOAD_TRUNCATED": "false",
        "RETRY_ATTEMPTS": "0",
        "SCHEDULED_TIME": "2027-03-01T12:00:05Z",
        "SCHEDULE_ARN": "arn:aws:scheduler:us-east-1:000000000000:schedule/default/fails",
        "TARGET_ARN": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage",
        "body": "2027-03-01T12:00:05Z",
    }


def test_a_target_that_does_not_exist_is_a_dead_letter_at_once(emulated: EmulatedScheduler) -> None:
    target = {"Arn": emulated.queue.replace("jobs", "none"), "RetryPolicy": {"MaximumRetryAttempts": 0}}
    letter = dead_letter_of(emulated, **target)

    # AWS's page has this code and text.
    assert letter["ERROR_CODE"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert letter["ERROR_MESSAGE"] == "The specified queue does not exist for this wsdl version."
    assert "EXHAUSTED_RETRY_CONDITION" not in letter


def test_a_function_that_does_not_exist_is_a_dead_letter_at_once(emulated: EmulatedScheduler) -> None:
    function = "arn:aws:lambda:us-east-1:000000000000:function:none"
    emulated.allow("invokes", "lambda:InvokeFunction", "sqs:SendMessage")

    letter = dead_letter_of(emulated, Arn=function, Input='{"at": "<aws.scheduler.scheduled-time>"}')

    assert letter["ERROR_CODE"] == "ResourceNotFoundException"
    assert letter["TARGET_ARN"] == "arn:aws:scheduler:::aws-sdk:lambda:invoke"
    assert letter["body"] == '{"at": "2027-03-01T12:00:05Z"}'


def test_the_queues_own_policy_may_refuse_the_role(emulated: EmulatedScheduler) -> None:
    queue = sqs._queue_by_arn(emulated.queue)
    assert queue is not None
    queue["attributes"]["Policy"] = json.dumps({"Version": "2012-10-17", "Statement": [REFUSED]})

    assert dead_letter_of(emulated)["ERROR_CODE"] == "AccessDenied"


def test_calls_are_made_over_tls(emulated: EmulatedScheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ministack.app.AUTH", True)  # else SQS does not look at the policy
    queue = sqs._queue_by_arn(emulated.queue)
    assert queue is not None
    plain = {**REFUSED, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    queue["attributes"]["Policy"] = json.dumps({"Version": "2012-10-17", "Statement": [plain]})
    emulated.create("encrypted", "at(2027-03-01T12:00:05)")

    emulated.passes(10)

    assert emulated.messages() == ["2027-03-01T12:00:05Z"]


def test_without_the_right_to_send_there_a_dead_letter_is_lost(emulated: EmulatedScheduler) -> None:
    emulated.create("fails", "at(2027-03-01T12:00:05)")
    emulated.allow("invokes")

    emulated.passes(10)

    assert (emulated.messages(), emulated.letters()) == ([], [])


def test_a_role_that_no_longer_trusts_scheduler_can_do_nothing(emulated: EmulatedScheduler) -> None:
    role = emulated.create_role("changes", TRUST, "sqs:SendMessage")
    emulated.create("fails", "at(2027-03-01T12:00:05)", Target=emulated.target(RoleArn=role))
    statement = {**TRUST["Statement"][0], "Principal": {"Service": "lambda.amazonaws.com"}}
    emulated.trust("changes", {**TRUST, "Statement": [statement]})

    emulated.passes(10)

    assert (emulated.messages(), emulated.letters()) == ([], [])


class Faults:
    """Makes SQS refuse messages to the queue of the jobs."""

    def __init__(self, emulated: EmulatedScheduler, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[float] = []
        self.left, self.error = 0, sqs._Err("RequestThrottled", "Slow down.")
        original = sqs._HANDLERS["SendMessage"]

        def send(request: dict[str, Any], url: str) -> Any:
            if url.endswith("/jobs"):
                self.seen.append(emulated.now)
                if self.left:
                    self.left -= 1
                    raise self.error
            return original(request, url)

        monkeypatch.setitem(sqs._HANDLERS, "SendMessage", send)


@pytest.fixture
def faults(emulated: EmulatedScheduler, monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(emulated, monkeypatch)


def test_a_temporary_error_is_retried_after_growing_waits(
    emulated: EmulatedScheduler, faults: Faults
) -> None:
    faults.left = 3
    text = "<aws.scheduler.attempt-number> <aws.scheduler.scheduled-time>"
    emulated.create("busy", "at(2027-03-01T12:00:05)", Target=emulated.target(Input=text))

    emulated.passes(60)

    assert emulated.messages() == ["4 2027-03-01T12:00:05Z"]
    assert [after - before for before, after in zip(faults.seen, faults.seen[1:], strict=False)] == [1, 2, 4]
    assert emulated.letters() == []


@pytest.mark.parametrize("retries", [0, 2])
def test_after_the_last_retry_comes_a_dead_letter(
    emulated: EmulatedScheduler, faults: Faults, retries: int
) -> None:
    faults.left = 100

    letter = dead_letter_of(emulated, RetryPolicy={"MaximumRetryAttempts": retries})

    assert letter["EXHAUSTED_RETRY_CONDITION"] == "MaximumRetryAttempts"
    assert letter["RETRY_ATTEMPTS"] == str(retries)
    assert (letter["ERROR_CODE"], letter["ERROR_MESSAGE"]) == ("RequestThrottled", "Slow down.")
    emulated.passes(100)
    assert len(faults.seen) == retries + 1


def test_an_event_that_is_too_old_is_a_dead_letter(emulated: EmulatedScheduler, faults: Faults) -> None:
    faults.left = 1000
    policy = {"MaximumEventAgeInSeconds": 60}
    emulated.create("old", "at(2027-03-01T12:00:05)", Target=emulated.target(RetryPolicy=policy))

    emulated.passes(120)

    [letter] = emulated.letters()
    assert letter["EXHAUSTED_RETRY_CONDITION"] == "MaximumEventAgeInSeconds"
    assert 0 < int(letter["RETRY_ATTEMPTS"]) < 10
    assert faults.seen[-1] - faults.seen[0] <= 60


def test_a_schedule_that_is_retried_is_deleted_only_afterwards(
    emulated: EmulatedScheduler, faults: Faults
) -> None:
    faults.left = 2
    emulated.create("busy", "at(2027-03-01T12:00:05)", ActionAfterCompletion="DELETE")

    emulated.passes(6)
    assert emulated.schedules() == ["busy"]
    emulated.passes(10)

    assert emulated.schedules() == []
    assert emulated.messages() == ["2027-03-01T12:00:05Z"]


def test_a_schedule_that_was_updated_meanwhile_is_not_deleted(
    emulated: EmulatedScheduler, faults: Faults
) -> None:
    faults.left = 2
    emulated.create("busy", "at(2027-03-01T12:00:05)", ActionAfterCompletion="DELETE")
    emulated.passes(6)

    emulated.update("busy", "at(2027-03-02T12:00:00)", ActionAfterCompletion="DELETE")
    emulated.passes(20)

    assert emulated.schedules() == ["busy"]


def test_an_unexpected_error_is_one_of_scheduler_itself(emulated: EmulatedScheduler, faults: Faults) -> None:
    faults.left, faults.error = 100, ZeroDivisionError("a bug")
    emulated.create("healthy", "at(2027-03-01T12:00:30)")

    letter = dead_letter_of(emulated, RetryPolicy={"MaximumRetryAttempts": 1})

    # AWS's page has this code and text.
    assert letter["ERROR_CODE"] == "AWS.Scheduler.InternalServerError"
    assert letter["ERROR_MESSAGE"] == "Unexpected error occurred while processing the request"
    assert letter["EXHAUSTED_RETRY_CONDITION"] == "MaximumRetryAttempts"
    faults.left = 0
    emulated.passes(30)
    assert emulated.messages() == ["2027-03-01T12:00:30Z"]


@pytest.mark.parametrize(
    "odd",
    [
        {"ScheduleExpression": "cron(bad)"},
        {"ScheduleExpressionTimezone": "Mars/Phobos"},
        {"ScheduleExpressionTimezone": "Europe"},
        {"Target": {"Arn": "nonsense", "RoleArn": "nonsense"}},
        {"Target": {"Arn": "arn:aws:sqs:us-east-1:000000000000:jobs", "RoleArn": "nonsense"}},
        {"Target": {}},
    ],
)
def test_a_schedule_that_came_in_unchecked_stops_no_other(
    emulated: EmulatedScheduler, odd: dict[str, str]
) -> None:
    emulated.create("odd", "at(2027-03-01T12:00:05)")
    emulated.create("healthy", "at(2027-03-01T12:00:05)")
    scheduler._schedules["default/odd"].update(odd)

    emulated.passes(10)

    assert emulated.messages() == ["2027-03-01T12:00:05Z"]


def test_a_target_that_came_in_unchecked_is_a_dead_letter(emulated: EmulatedScheduler) -> None:
    emulated.create("odd", "at(2027-03-01T12:00:05)")
    scheduler._schedules["default/odd"]["Target"]["Arn"] = "arn:aws:scheduler:::aws-sdk:sns:publish"

    emulated.passes(10)

    [letter] = emulated.letters()
    assert letter["TARGET_ARN"] == "arn:aws:scheduler:::aws-sdk:sns:publish"
    assert letter["ERROR_MESSAGE"].startswith("The local stage has no target")
    assert letter["RETRY_ATTEMPTS"] == "0"


def test_a_dead_letter_that_cannot_be_sent_is_lost_and_the_others_are_not(
    emulated: EmulatedScheduler, faults: Faults
) -> None:
    faults.left, faults.error = 100, ZeroDivisionError("a bug")
    policy = {"MaximumRetryAttempts": 0}
    full = emulated.queue  # it refuses everything, so also dead letters
    target = emulated.target(RetryPolicy=policy, DeadLetterConfig={"Arn": full})
    emulated.create("fails", "at(2027-03-01T12:00:05)", Target=target)
    emulated.create("fails-too", "at(2027-03-01T12:00:06)", Target=emulated.target(RetryPolicy=policy))

    emulated.passes(10)

    assert [letter["SCHEDULED_TIME"] for letter in emulated.letters()] == ["2027-03-01T12:00:06Z"]
    assert len(faults.seen) == 3


def test_firing_leaves_the_callers_account_and_region(emulated: EmulatedScheduler) -> None:
    responses.set_request_region("eu-central-1")
    try:
        emulated.create("here", "at(2027-03-01T12:00:05)", Target=emulated.target())
        emulated.passes(10)
        assert responses.get_region() == "eu-central-1"
    finally:
        responses.set_request_region("us-east-1")
