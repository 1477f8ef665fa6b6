"""The targets that a schedule may have here: functions, queues and state machines.

AWS has more. They are refused when a schedule is created, because nothing here would call them.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-templated.html
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ministack.core.arn import ArnParseError, parse_arn
from ministack.services import eventbridge, lambda_svc, sqs, stepfunctions

# Errors that pass. AWS retries them, and no others; no page lists them.
TEMPORARY = re.compile(
    r".*(Throttl|TooManyRequests|LimitExceeded|InternalServerError|InternalError|Unavailable)"
)


class TargetError(Exception):
    """The target's service refused the call. ``code`` and ``message`` are the service's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message

    @property
    def is_temporary(self) -> bool:
        """Whether another attempt may succeed."""
        return TEMPORARY.match(self.code) is not None


class UnknownTarget(ValueError):
    """No target that is known here has such an ARN."""


@dataclass(frozen=True)
class Kind:
    """One kind of target.

    Attributes:
        action: the action of IAM that the schedule's role needs.
        api: the call's name in the ARN of a universal target, which dead letters have as TARGET_ARN.
        denied: the service's code for a call that IAM does not allow.
        takes_json: whether the input must be JSON.
        call: calls the target with the input. Raises TargetError.
    """

    action: str
    api: str
    denied: str
    takes_json: bool
    call: Callable[[dict[str, Any], str], None]


def kind_of(arn: str) -> Kind:
    """The kind of the target with an ARN. Raises UnknownTarget."""
    try:
        service = parse_arn(arn).service
    except ArnParseError:
        raise UnknownTarget(f"{arn!r} is not a valid ARN.") from None
    if service not in KINDS:
        raise UnknownTarget(
            f"The local stage has no target {arn!r}. It has Lambda functions, SQS queues and state machines."
        )
    return KINDS[service]


def arn_of_call(arn: str) -> str:
    """The ARN of the call that a target stands for, or that of the target if it is not known.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
    """
    try:
        return f"arn:aws:scheduler:::aws-sdk:{kind_of(arn).api}"
    except UnknownTarget:
        return arn


def invoke_function(target: dict[str, Any], payload: str) -> None:
    """AWS invokes functions asynchronously, so Lambda retries what they raise, not Scheduler.

    https://docs.aws.amazon.com/lambda/latest/dg/with-eventbridge-scheduler.html
    """
    function, configuration, _name = lambda_svc._get_func_record_for_ref(target["Arn"])
    if not function or not configuration:
        raise TargetError("ResourceNotFoundException", f"Function not found: {target['Arn']}")
    eventbridge._dispatch_to_lambda(target["Arn"], payload)  # as an event: see local/aws_behaviour/events.py


def send_message(target: dict[str, Any], payload: str) -> None:
    """Sends the input as the message's body.

    https://docs.aws.amazon.com/scheduler/latest/APIReference/API_SqsParameters.html
    """
    send(target["Arn"], payload, target.get("SqsParameters") or {})


def send(queue_arn: str, body: str, options: dict[str, Any]) -> None:
    """Sends a message to the queue with an ARN. Raises TargetError."""
    queue = sqs._queue_by_arn(queue_arn)
    if queue is None:
        # The code and text of https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
        message = "The specified queue does not exist for this wsdl version."
        raise TargetError("AWS.SimpleQueueService.NonExistentQueue", message)
    try:
        sqs._HANDLERS["SendMessage"]({"MessageBody": body, **options}, queue["url"])
    except sqs._Err as error:
        raise TargetError(error.code, error.message) from None


def start_execution(target: dict[str, Any], payload: str) -> None:
    """Starts an execution with the input.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
    """
    if stepfunctions._resolve_state_machine_arn(target["Arn"]) is None:
        message = f"State Machine Does Not Exist: '{target['Arn']}'"
        raise TargetError("StateMachineDoesNotExist", message)
    status, _, body = stepfunctions._start_execution({"stateMachineArn": target["Arn"], "input": payload})
    if status != 200:
        error = json.loads(body)
        raise TargetError(error["__type"], error.get("message", ""))


KINDS = {
    "lambda": Kind("lambda:InvokeFunction", "lambda:invoke", "AccessDeniedException", True, invoke_function),
    "sqs": Kind("sqs:SendMessage", "sqs:sendMessage", "AccessDenied", False, send_message),
    "states": Kind(
        "states:StartExecution", "sfn:startExecution", "AccessDeniedException", True, start_execution
    ),
}
