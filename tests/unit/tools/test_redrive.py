"""make redrive: invokes functions with dead letters, and deletes those that succeed."""

import io
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tools import redrive
from tools.redrive import NotUnderstoodError, invocation_of, values_of

ACCOUNT = "123456789012"
FUNCTIONS = {
    "start_due_executions": "sjm-dev-start-due-executions",
    "reap_executions": "sjm-dev-reap-executions",
    "start_spread_executions": "sjm-dev-start-spread-executions",
}
TICK = {"schedule": "rate(5 minutes)", "scheduled_time": "2026-11-23T12:00:00Z"}
RULE = "sjm-dev-schedule-1"

# The event of a rule, as EventBridge sends it without an input transformer.
SCHEDULED_EVENT = {
    "version": "0",
    "id": "89d1a02d-5ec7-412e-82f5-13505f849b41",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": ACCOUNT,
    "time": "2026-11-23T12:00:00Z",
    "region": "eu-central-1",
    "resources": [f"arn:aws:events:eu-central-1:{ACCOUNT}:rule/{RULE}"],
    "detail": {},
}


def arn_of(function: str) -> str:
    return f"arn:aws:lambda:eu-central-1:{ACCOUNT}:function:{function}"


def undelivered(
    body: Any = SCHEDULED_EVENT, function: str = "sjm-dev-start-due-executions"
) -> dict[str, Any]:
    """A message that EventBridge puts into the queue if it cannot deliver an event."""
    attributes = {
        "RULE_ARN": f"arn:aws:events:eu-central-1:{ACCOUNT}:rule/{RULE}",
        "TARGET_ARN": arn_of(function),
        "ERROR_CODE": "NO_PERMISSIONS",
        "ERROR_MESSAGE": "User is not authorized",
        "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts",
        "RETRY_ATTEMPTS": "60",
    }
    return {
        "MessageBody": json.dumps(body),
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    }


def failed(payload: Any, function: str = "sjm-dev-start-due-executions") -> dict[str, Any]:
    """A message that Lambda puts into the queue if a function fails to the last attempt."""
    record = {
        "version": "1.0",
        "timestamp": "2026-11-23T12:04:00.000Z",
        "requestContext": {
            "requestId": "e4b46cbf-b738-xmpl-8880-a18cdf61200e",
            "functionArn": f"{arn_of(function)}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": payload,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "2 executions were not started", "errorType": "TickIncomplete"},
    }
    return {"MessageBody": json.dumps(record)}


def not_invoked(tick: dict[str, Any]) -> dict[str, Any]:
    """A message that EventBridge Scheduler puts into the queue if it could not invoke the function."""
    attributes = {
        "SCHEDULE_ARN": "arn:aws:scheduler:eu-central-1:123456789012:schedule/default/sjm-dev-schedule-1",
        "TARGET_ARN": arn_of("sjm-dev-start-due-executions"),
        "ERROR_CODE": "AWS.Scheduler.InternalServerError",
    }
    typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
    return {"MessageBody": json.dumps(tick), "MessageAttributes": typed}


def understood(sent: dict[str, Any]) -> redrive.Invocation:
    message: Any = {"Body": sent["MessageBody"], "MessageAttributes": sent.get("MessageAttributes", {})}
    return invocation_of(message, FUNCTIONS, {RULE: "rate(5 minutes)"}.__getitem__)


@pytest.mark.parametrize(
    "sent",
    [undelivered(), undelivered(TICK), failed(TICK), not_invoked(TICK)],
    ids=["an untransformed event", "a transformed event", "a record of a failure", "of Scheduler"],
)
def test_each_form_of_a_dead_tick_gives_the_same_tick(sent: dict[str, Any]) -> None:
    assert understood(sent) == redrive.Invocation("sjm-dev-start-due-executions", TICK)


def test_the_rest_of_a_tick_continues_after_the_last_started_job() -> None:
    rest = {**TICK, "after": "billing/nightly"}
    assert understood(failed(rest)).payload == rest


def test_a_message_of_spread_jobs_is_delivered_as_the_queue_delivers_it() -> None:
    body = json.dumps({**TICK, "jobs": [{"job_key": "billing/nightly", "spread_seconds": 60}]})
    assert understood({"MessageBody": body}) == redrive.Invocation(
        "sjm-dev-start-spread-executions", {"Records": [{"body": body}]}
    )


def test_a_message_of_an_execution_that_waits_for_its_time_is_delivered_as_the_queue_delivers_it() -> None:
    body = json.dumps({"waiting_execution": "guid-20261123T120000Z", "may_start_at_ms": 1_795_000_000_000})
    assert understood({"MessageBody": body}) == redrive.Invocation(
        "sjm-dev-start-spread-executions", {"Records": [{"body": body}]}
    )


def test_a_stage_without_spread_leaves_a_message_of_spread_jobs_in_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(FUNCTIONS, "start_spread_executions")
    with pytest.raises(NotUnderstoodError, match="this stage does not spread jobs"):
        understood({"MessageBody": json.dumps({**TICK, "jobs": []})})


def test_another_function_gets_its_original_payload() -> None:
    name = "sjm-dev-reap-executions"
    for sent in (undelivered(SCHEDULED_EVENT, name), failed(SCHEDULED_EVENT, name)):
        assert understood(sent) == redrive.Invocation(name, SCHEDULED_EVENT)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({"MessageBody": "hello"}, "not JSON"),
        ({"MessageBody": "[1]"}, "not an object"),
        ({"MessageBody": "{}"}, "neither an event from EventBridge, nor"),
        (failed(TICK, "sjm-prod-start-due-executions"), "which this stage does not have"),
        (undelivered(SCHEDULED_EVENT, "somebody-elses"), "which this stage does not have"),
        (failed({"schedule": "rate(5 minutes)"}), "is not an object with schedule and scheduled_time"),
        (failed(None), "is not an object with schedule and scheduled_time"),
        (failed(None, "sjm-dev-reap-executions"), "is not an object$"),
        (undelivered({"source": "somebody"}), "is not an object with schedule and scheduled_time"),
    ],
)
def test_a_message_that_is_not_understood_is_refused_with_the_reason(sent: dict[str, Any], why: str) -> None:
    with pytest.raises(NotUnderstoodError, match=why):
        understood(sent)


def test_outputs_are_read_in_terraforms_form_and_in_makes() -> None:
    plain = {"function_names": FUNCTIONS, "api_url": "x"}
    wrapped = {name: {"sensitive": False, "type": "…", "value": value} for name, value in plain.items()}
    assert values_of(plain) == values_of(wrapped) == plain


class Stage:
    """Queues and rules in moto, and a fake Lambda client that succeeds unless ``fails`` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.sqs = boto3.client("sqs", region_name="eu-central-1")
        self.url = self.sqs.create_queue(QueueName="sjm-dev-tick-dead-letters")["QueueUrl"]
        self.invoked: list[tuple[str, Any]] = []
        self.fails = False
        self._monkeypatch, self._capsys = monkeypatch, capsys
        events = boto3.client("events", region_name="eu-central-1")
        events.put_rule(Name=RULE, ScheduleExpression="rate(5 minutes)")

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:
        self.invoked.append((FunctionName, json.loads(Payload)))
        if self.fails:
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorType": "TickIncomplete"}')}
        return {"Payload": io.BytesIO(b'{"started": 1}')}

    def send(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self.sqs.send_message(QueueUrl=self.url, **message)

    def waiting(self) -> int:
        found = self.sqs.get_queue_attributes(
            QueueUrl=self.url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(found["Attributes"]["ApproximateNumberOfMessages"])

    def redrive(self, *arguments: str) -> tuple[int, str]:
        outputs = {
            "function_names": FUNCTIONS,
            "state_machine_arn": f"arn:aws:states:eu-central-1:{ACCOUNT}:stateMachine:m",
            "tick_dead_letter_queue_url": self.url,
        }
        made: Any = boto3.Session.client

        def client(session: Any, name: str, *others: Any, **named: Any) -> Any:
            return self if name == "lambda" else made(session, name, *others, **named)

        with self._monkeypatch.context() as patched:
            patched.setattr("sys.stdin", io.StringIO(json.dumps(outputs)))
            patched.setattr(boto3.Session, "client", client)
            code = redrive.main(arguments)
        return code, self._capsys.readouterr().out


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Stage]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield Stage(monkeypatch, capsys)


def test_a_redriven_message_is_deleted(stage: Stage) -> None:
    stage.send(undelivered(), failed(TICK))
    code, printed = stage.redrive()
    assert code == 0
    assert stage.invoked == [("sjm-dev-start-due-executions", TICK)] * 2
    assert stage.waiting() == 0
    assert "tick_dead_letter_queue: 2 redriven, 0 in the queue" in printed


def test_a_message_that_fails_again_stays_and_is_visible_immediately(stage: Stage) -> None:
    stage.send(failed(TICK))
    stage.fails = True
    code, printed = stage.redrive()
    assert code == 1
    assert "TickIncomplete" in printed
    assert stage.waiting() == 1
    stage.fails = False
    assert stage.redrive()[0] == 0
    assert stage.waiting() == 0


def test_a_message_that_is_not_understood_stays_and_the_others_are_redriven(stage: Stage) -> None:
    stage.send({"MessageBody": "hello"}, failed(TICK))
    code, printed = stage.redrive()
    assert (code, stage.waiting(), len(stage.invoked)) == (1, 1, 1)
    assert "its body is not JSON" in printed


def test_a_tick_whose_rule_no_longer_exists_stays_with_the_reason(stage: Stage) -> None:
    boto3.client("events", region_name="eu-central-1").delete_rule(Name=RULE)
    stage.send(undelivered())
    code, printed = stage.redrive()
    assert (code, stage.waiting(), stage.invoked) == (1, 1, [])
    assert "no job has that schedule any more" in printed


def test_a_dry_run_prints_the_invocations_and_makes_none(stage: Stage) -> None:
    stage.send(undelivered(), failed(TICK))
    code, printed = stage.redrive("--dry-run")
    assert (code, stage.invoked, stage.waiting()) == (0, [], 2)
    assert printed.count(f"would invoke sjm-dev-start-due-executions {json.dumps(TICK)}") == 2


def test_without_outputs_the_error_says_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in ("", "[]", "{}"):
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        with pytest.raises(SystemExit):
            redrive.main([])
        assert "terraform output -json" in capsys.readouterr().err


def test_a_dry_run_says_why_each_message_is_in_the_queue(stage: Stage) -> None:
    stage.send(undelivered(), failed(TICK), {"MessageBody": "hello"})
    code, printed = stage.redrive("--dry-run")

    assert code == 0
    assert stage.waiting() == 3
    assert "it is here because of NO_PERMISSIONS: User is not authorized" in printed
    assert "it is here because of TickIncomplete: 2 executions were not started" in printed
    assert "not understood: its body is not JSON\n" in printed
