"""Invokes again what waits in a stage's dead-letter queues, and deletes it there when that succeeded.

    terraform output -json | python -m tools.redrive [--dry-run]

Reads the stage's Terraform outputs, as `terraform output -json` or `make outputs` prints them, from standard
input. SQS itself can only move messages from a queue to a queue. These must be invoked again, and they come
in two forms:

- EventBridge could not deliver: the body is the event as it was before the rule's input transformer, and the
  attributes RULE_ARN and TARGET_ARN say whose it was. A tick's schedule is its rule's.
  https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
- Lambda delivered, and the function failed to the last attempt: the body is a record with the function's ARN
  and, as ``requestPayload``, what it was invoked with.
  https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html

Safe to run at any time, and twice: a tick that comes again starts no execution twice, and what else stands
here may be repeated. What fails again, or is not understood, stays where it is, and makes this exit with 1.
Whoever runs it needs sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility on the queues,
kms:Decrypt on the stage's key, events:DescribeRule on its rules and lambda:InvokeFunction on its functions.
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
QUEUE_OUTPUT = "_dead_letter_queue_url"

# Longer than any function of ours runs, so that a message does not come back while it is handled.
SECONDS_INVISIBLE = 900
# A function is waited for as long as Lambda lets one run, and never invoked twice by the SDK.
INVOKING = Config(read_timeout=905, retries={"total_max_attempts": 1})


class NotUnderstoodError(Exception):
    """A message that this does not know how to redrive; says why."""


@dataclass(frozen=True)
class Invocation:
    """What a dead letter asks for: a function of the stage, and what it is to be invoked with."""

    function_name: str
    payload: Json


def invocation_of(
    message: "MessageTypeDef", functions: dict[str, str], schedule_of: Callable[[str], str]
) -> Invocation:
    """What the message asks for; raises NotUnderstoodError.

    ``functions``: the stage's, as Terraform's output function_names. ``schedule_of``: the schedule of a rule,
    by its name.
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
    raise NotUnderstoodError("it is neither from EventBridge nor a record of Lambda's")


def _function_of_the_stage(arn: str, functions: dict[str, str]) -> str:
    """arn:aws:lambda:<region>:<account>:function:<name>, perhaps with a qualifier."""
    name = arn.split(":")[6]
    if name not in functions.values():
        raise NotUnderstoodError(f"it is for {name}, which is no function of this stage")
    return name


def _as_invoked(name: str, payload: Any, functions: dict[str, str]) -> Json:
    is_tick = isinstance(payload, dict) and {"schedule", "scheduled_time"} <= payload.keys()
    if not isinstance(payload, dict) or (name == functions[TICKS] and not is_tick):
        raise NotUnderstoodError(f"it has no payload for {name}")
    return payload


class Redrive:
    """Works off the queues of one stage."""

    def __init__(self, outputs: Json, dry_run: bool) -> None:
        self.functions: dict[str, str] = outputs["function_names"]
        self.dry_run = dry_run
        session = boto3.Session(region_name=outputs["state_machine_arn"].split(":")[3])
        self.sqs = session.client("sqs")
        self.events = session.client("events")
        self.lambdas = session.client("lambda", config=INVOKING)

    def queue(self, url: str) -> tuple[int, int]:
        """Works off one queue; answers how many messages were redriven, and how many stay."""
        redriven, staying = 0, []
        for message in self._messages(url):
            said = self._redrive(message)
            print(f"{message['MessageId']}: {said}")
            if said.startswith("invoked"):
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                redriven += 1
            else:
                staying.append(message["ReceiptHandle"])
        for receipt in staying:
            with contextlib.suppress(ClientError):  # after so long a run it is visible again anyway
                self.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
        return redriven, len(staying)

    def _messages(self, url: str) -> Iterator["MessageTypeDef"]:
        """One after the other, each once; those that stay are invisible meanwhile."""
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

    def _redrive(self, message: "MessageTypeDef") -> str:
        try:
            asked = invocation_of(message, self.functions, self._schedule_of)
            described = f"{asked.function_name} {json.dumps(asked.payload)}"
            if self.dry_run:
                return f"would invoke {described}"
            answer = self.lambdas.invoke(
                FunctionName=asked.function_name, Payload=json.dumps(asked.payload).encode()
            )
        except (NotUnderstoodError, KeyError, IndexError) as error:
            return f"stays, not understood: {error}"
        except (ClientError, BotoCoreError) as error:
            return f"stays: {error}"
        result = answer["Payload"].read().decode()
        return (
            f"stays, {described} failed: {result}" if answer.get("FunctionError") else f"invoked {described}"
        )

    def _schedule_of(self, rule: str) -> str:
        try:
            return self.events.describe_rule(Name=rule)["ScheduleExpression"]
        except self.events.exceptions.ResourceNotFoundException:
            raise NotUnderstoodError(
                f"its rule {rule} is gone, as no job has that schedule any more; delete the message"
            ) from None


def values_of(outputs: Json) -> Json:
    """Terraform's outputs by name; `terraform output -json` wraps each in an object."""
    return {
        name: output["value"] if isinstance(output, dict) and {"value", "type"} <= output.keys() else output
        for name, output in outputs.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; answers 1 if something stays."""
    parser = argparse.ArgumentParser(
        "python -m tools.redrive", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be invoked")
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
