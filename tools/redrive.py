"""Invokes a stage's functions again with the messages in its dead-letter queues.

    terraform output -json | python -m tools.redrive [--dry-run]

Reads the stage's Terraform outputs from standard input, as `terraform output -json` or
`make outputs ARGS=--all` prints them. Deletes each message whose function succeeds, and says why each message
is in the queue. SQS's own redrive cannot do this: it only moves messages to another queue. A message has one
of four forms:

- EventBridge could not deliver an event: the body is the event before the rule's input transformer, and the
  attributes RULE_ARN and TARGET_ARN name the rule and the function. A tick's schedule is that of its rule.
  https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
- EventBridge Scheduler could not deliver a tick: the body is the tick, and TARGET_ARN names the function.
  https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
- A function failed to the last attempt: the body is a record of Lambda's, with the function's ARN and the
  original payload as ``requestPayload``.
  https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
- Spread jobs, or an execution that waits for its time under a limit, could not be started: the body is the
  message of the stage's queue.

You may run it at any time, and again: a repeated tick starts no execution twice, and the other functions are
safe to repeat too. A message that fails again, or that it does not understand, stays in the queue, and the
exit status is 1.

Permissions: sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility on the queues, kms:Decrypt
on the stage's key, events:DescribeRule on its rules and lambda:InvokeFunction on its functions.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

type Json = dict[str, Any]

TICKS = "start_due_executions"
SPREAD = "start_spread_executions"
# The fields of the two kinds of messages in the stage's queue of spread starts.
OF_THE_QUEUE = ({"schedule", "scheduled_time", "jobs"}, {"waiting_execution", "may_start_at_ms"})
QUEUE_OUTPUT = "_dead_letter_queue_url"

# Longer than any function of the stage runs, so that a message does not reappear while it is handled.
SECONDS_INVISIBLE = 900
# Waits as long as Lambda lets a function run. The SDK does not retry, so it never invokes a function twice.
INVOKING = Config(read_timeout=905, retries={"total_max_attempts": 1})


class NotUnderstoodError(Exception):
    """The message cannot be redriven. The text says why."""


@dataclass(frozen=True)
class Invocation:
    """An invocation that a dead letter stands for: a function of the stage, and its payload."""

    function_name: str
    payload: Json


def invocation_of(
    message: "MessageTypeDef", functions: dict[str, str], schedule_of: Callable[[str], str]
) -> Invocation:
    """The invocation that the message stands for. Raises NotUnderstoodError.

    ``functions``: Terraform's output function_names. ``schedule_of``: answers a rule's schedule, by its name.
    """
    try:
        body = json.loads(message["Body"])
    except ValueError:
        raise NotUnderstoodError("its body is not JSON") from None
    if not isinstance(body, dict):
        raise NotUnderstoodError("its body is not an object")
    attributes = {name: each["StringValue"] for name, each in message.get("MessageAttributes", {}).items()}
    if "requestPayload" in body:
        name = _function_of_the_stage(body["requestContext"]["functionArn"], functions)
        return Invocation(name, _as_invoked(name, body["requestPayload"], functions))
    if "TARGET_ARN" in attributes:
        name = _function_of_the_stage(attributes["TARGET_ARN"], functions)
        if name == functions[TICKS] and body.get("source") == "aws.events":
            rule = attributes["RULE_ARN"].rpartition("/")[2]
            return Invocation(name, {"schedule": schedule_of(rule), "scheduled_time": body["time"]})
        return Invocation(name, _as_invoked(name, body, functions))
    if any(fields <= body.keys() for fields in OF_THE_QUEUE):
        if SPREAD not in functions:
            raise NotUnderstoodError("it has spread jobs, and this stage does not spread jobs")
        return Invocation(functions[SPREAD], {"Records": [{"body": message["Body"]}]})
    raise NotUnderstoodError(
        "it is neither an event from EventBridge, nor a record from Lambda, nor a message with spread jobs"
    )


def reason_of(message: "MessageTypeDef") -> str:
    """Why the message is in the queue: EventBridge's error or the function's; empty if it does not say."""
    attributes = {name: each["StringValue"] for name, each in message.get("MessageAttributes", {}).items()}
    reasons = [attributes.get("ERROR_CODE"), attributes.get("ERROR_MESSAGE")]
    with contextlib.suppress(ValueError, AttributeError):  # the body is not a record of Lambda's
        body = json.loads(message["Body"])
        answer = body.get("responsePayload") or {}
        reasons += [answer.get("errorType"), answer.get("errorMessage")]
        if not any(reasons):
            reasons.append(body.get("requestContext", {}).get("condition"))
    return ": ".join(str(each) for each in reasons if each)


def _function_of_the_stage(arn: str, functions: dict[str, str]) -> str:
    """The function's name in its ARN, arn:aws:lambda:<region>:<account>:function:<name>[:<qualifier>]."""
    name = arn.split(":")[6]
    if name not in functions.values():
        raise NotUnderstoodError(f"it is for the function {name}, which this stage does not have")
    return name


def _as_invoked(name: str, payload: Any, functions: dict[str, str]) -> Json:
    is_tick = isinstance(payload, dict) and {"schedule", "scheduled_time"} <= payload.keys()
    if not isinstance(payload, dict) or (name == functions[TICKS] and not is_tick):
        expected = "an object with schedule and scheduled_time" if name == functions[TICKS] else "an object"
        raise NotUnderstoodError(f"its payload for {name} is not {expected}")
    return payload


class Redrive:
    """Redrives the queues of one stage."""

    def __init__(self, outputs: Json, dry_run: bool) -> None:
        self.functions: dict[str, str] = outputs["function_names"]
        self.dry_run = dry_run
        session = boto3.Session(region_name=outputs["state_machine_arn"].split(":")[3])
        self.sqs = session.client("sqs")
        self.events = session.client("events")
        self.lambdas = session.client("lambda", config=INVOKING)

    def queue(self, url: str) -> tuple[int, int]:
        """Redrives one queue. Returns how many messages were redriven, and how many stay."""
        redriven, staying = 0, []
        for message in self._messages(url):
            succeeded, report = self._redrive(message)
            reason = reason_of(message)
            print(f"{message['MessageId']}: {report}{f'; it is here because of {reason}' if reason else ''}")
            if succeeded:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                redriven += 1
            else:
                staying.append(message["ReceiptHandle"])
        for receipt in staying:
            with contextlib.suppress(ClientError):  # after a long run, the message is visible again anyway
                self.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
        return redriven, len(staying)

    def _messages(self, url: str) -> Iterator["MessageTypeDef"]:
        """The messages of the queue, each once. They are invisible to others during the run."""
        seen: set[str] = set()
        while True:
            found = self.sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=1,
                VisibilityTimeout=SECONDS_INVISIBLE,
                WaitTimeSeconds=2,
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            if not found or found[0]["MessageId"] in seen:
                return
            seen.add(found[0]["MessageId"])
            yield found[0]

    def _redrive(self, message: "MessageTypeDef") -> tuple[bool, str]:
        """Whether the function succeeded, and a report of what was done."""
        try:
            invocation = invocation_of(message, self.functions, self._schedule_of)
            described = f"{invocation.function_name} {json.dumps(invocation.payload)}"
            if self.dry_run:
                return False, f"would invoke {described}"
            answer = self.lambdas.invoke(
                FunctionName=invocation.function_name, Payload=json.dumps(invocation.payload).encode()
            )
        except (NotUnderstoodError, KeyError, IndexError) as error:
            return False, f"stays in the queue, not understood: {error}"
        except (ClientError, BotoCoreError) as error:
            return False, f"stays in the queue: {error}"
        result = answer["Payload"].read().decode()
        if answer.get("FunctionError"):
            return False, f"stays in the queue, {described} failed again: {result}"
        return True, f"invoked {described}"

    def _schedule_of(self, rule: str) -> str:
        try:
            return self.events.describe_rule(Name=rule)["ScheduleExpression"]
        except self.events.exceptions.ResourceNotFoundException:
            raise NotUnderstoodError(
                f"its rule {rule} no longer exists, because no job has that schedule any more; delete the"
                " message"
            ) from None


def values_of(outputs: Json) -> Json:
    """Terraform's outputs by name. `terraform output -json` wraps each in an object."""
    return {
        name: output["value"] if isinstance(output, dict) and {"value", "type"} <= output.keys() else output
        for name, output in outputs.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line. Returns 1 if messages stay."""
    parser = argparse.ArgumentParser(
        "python -m tools.redrive", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what would be invoked")
    options = parser.parse_args(arguments)
    try:
        outputs = values_of(json.load(sys.stdin))
        redrive = Redrive(outputs, options.dry_run)
    except (ValueError, KeyError, AttributeError):
        parser.error("expected a stage's Terraform outputs on standard input, from: terraform output -json")
    stay = 0
    for name in sorted(name for name in outputs if name.endswith(QUEUE_OUTPUT)):
        redriven, staying = redrive.queue(outputs[name])
        print(f"{name.removesuffix('_url')}: {redriven} redriven, {staying} in the queue")
        stay += staying
    return 1 if stay and not options.dry_run else 0


if __name__ == "__main__":
    sys.exit(main())
