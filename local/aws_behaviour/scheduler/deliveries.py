"""One invocation of a target: its input, its attempts, and the dead letter if all fail."""

import json
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ministack.core import iam_evaluator, responses

from local.aws_behaviour.scheduler import roles, targets
from local.aws_behaviour.scheduler.targets import TargetError
from local.aws_behaviour.scheduler.timers import Due, Key

# No page has the waits between attempts, except that they grow exponentially.
FIRST_WAIT_SECONDS = 1
LONGEST_WAIT_SECONDS = 60
# What AWS stores if a schedule names none.
# https://aws.amazon.com/blogs/compute/introducing-amazon-eventbridge-scheduler/
DEFAULT_RETRY_POLICY = {"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185}
# "If the schedule fails to invoke a target due to an issue with EventBridge Scheduler":
# https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
INTERNAL_ERROR = (
    "AWS.Scheduler.InternalServerError",
    "Unexpected error occurred while processing the request",
)

_LOG = logging.getLogger("scheduler")


@dataclass
class Delivery:
    """The invocation of a schedule's target for one of its times."""

    due: Due
    began: float
    next_attempt: float
    attempts: int = 0
    payload: str = field(default="", init=False)
    execution_id: str = field(default="", init=False)

    def attempt(self, now: float) -> bool:
        """Calls the target. Returns whether this was the last attempt."""
        self.attempts += 1
        self.execution_id = uuid.uuid4().hex[:16]
        self.payload = self._payload()
        try:
            self._invoke()
        except TargetError as error:
            return self._failed(error, now)
        except Exception:
            _LOG.exception("%s broke", self.due.schedule["Arn"])
            return self._failed(TargetError(*INTERNAL_ERROR), now)
        return True

    def _failed(self, error: TargetError, now: float) -> bool:
        condition = self._exhausted(now) if error.is_temporary else None
        if error.is_temporary and condition is None:
            self.next_attempt = now + self._wait()
            return False
        self._send_dead_letter(error, condition)
        return True

    def _invoke(self) -> None:
        target, arn = self._target, self.due.schedule["Arn"]
        role = target["RoleArn"]
        try:
            kind = targets.kind_of(target["Arn"])
        except targets.UnknownTarget as unknown:  # of a schedule that nobody checked, as in timers.py
            raise TargetError("ValidationException", str(unknown)) from None
        if not roles.may_be_assumed(role, arn):
            message = (
                f"User: {roles.SERVICE} is not authorized to perform: sts:AssumeRole on resource: {role}"
            )
            raise TargetError("AccessDenied", message)
        if refusal := roles.refusal(role, arn, kind.action, target["Arn"]):
            raise TargetError(kind.denied, refusal)
        kind.call(target, self.payload)

    def _payload(self) -> str:
        """The input with the values of its keywords, or AWS's default event.

        https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
        The page has the four keywords and an example of each value. No page shows the default event. This is
        how people received it.
        """
        schedule = self.due.schedule
        text = self._target.get("Input")
        if text is None:
            _, _, _, region, account, _ = schedule["Arn"].split(":", 5)
            event = {
                "version": "0",
                "id": str(uuid.uuid4()),
                "detail-type": "Scheduled Event",
                "source": "aws.scheduler",
                "account": account,
                "time": self._scheduled_time,
                "region": region,
                "resources": [schedule["Arn"]],
                "detail": "{}",
            }
            return json.dumps(event)
        values = {
            "schedule-arn": schedule["Arn"],
            "scheduled-time": self._scheduled_time,
            "execution-id": self.execution_id,
            "attempt-number": str(self.attempts),
        }
        for keyword, value in values.items():
            text = text.replace(f"<aws.scheduler.{keyword}>", value)
        return str(text)

    def _exhausted(self, now: float) -> str | None:
        """The limit of the retry policy that ends the retries; None if another attempt is due.

        https://docs.aws.amazon.com/scheduler/latest/APIReference/API_RetryPolicy.html
        In the example of the page about dead letters an event is given up before it reached its age, because
        the next attempt would come too late.
        """
        policy = DEFAULT_RETRY_POLICY | (self._target.get("RetryPolicy") or {})
        if self.attempts > policy["MaximumRetryAttempts"]:
            return "MaximumRetryAttempts"
        if now + self._wait() - self.began > policy["MaximumEventAgeInSeconds"]:
            return "MaximumEventAgeInSeconds"
        return None

    def _wait(self) -> float:
        return float(min(FIRST_WAIT_SECONDS * 2 ** (self.attempts - 1), LONGEST_WAIT_SECONDS))

    def _send_dead_letter(self, error: TargetError, condition: str | None) -> None:
        """Sends what failed to the schedule's dead-letter queue, with its role's right to send there.

        EXHAUSTED_RETRY_CONDITION is there only if the error could have been retried. TARGET_ARN names the
        call, not the target.
        https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
        """
        schedule, queue = self.due.schedule, (self._target.get("DeadLetterConfig") or {}).get("Arn")
        _LOG.warning("%s failed: %s", schedule["Arn"], error)
        if not queue:
            return
        attributes = {
            "ERROR_CODE": error.code,
            "ERROR_MESSAGE": error.message,
            "EXECUTION_ID": self.execution_id,
            "IS_PAYLOAD_TRUNCATED": "false",
            "RETRY_ATTEMPTS": str(self.attempts - 1),
            "SCHEDULED_TIME": self._scheduled_time,
            "SCHEDULE_ARN": schedule["Arn"],
            "TARGET_ARN": targets.arn_of_call(self._target["Arn"]),
        }
        if condition:
            attributes["EXHAUSTED_RETRY_CONDITION"] = condition
        role = self._target["RoleArn"]
        if not roles.may_be_assumed(role, schedule["Arn"]):
            _LOG.warning("%s lost a dead letter: its role cannot be assumed", schedule["Arn"])
        elif refused := roles.refusal(role, schedule["Arn"], "sqs:SendMessage", queue):
            _LOG.warning("%s lost a dead letter: %s", schedule["Arn"], refused)
        else:
            values = {name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()}
            try:
                targets.send(queue, self.payload, {"MessageAttributes": values})
            except TargetError as lost:
                _LOG.warning("%s lost a dead letter: %s", schedule["Arn"], lost)

    @property
    def _target(self) -> dict[str, Any]:
        target: dict[str, Any] = self.due.schedule["Target"]
        return target

    @property
    def _scheduled_time(self) -> str:
        return f"{self.due.at:%Y-%m-%dT%H:%M:%SZ}"


@contextmanager
def acting_for(key: Key) -> Iterator[None]:
    """Calls services in a schedule's account and region, over TLS, as AWS does."""
    account, region, _ = key
    before = responses.get_account_id(), responses.get_region()
    origin = iam_evaluator._request_origin.set((roles.SERVICE, True))
    responses.set_request_account_id(account)
    responses.set_request_region(region)
    try:
        yield
    finally:
        iam_evaluator._request_origin.reset(origin)
        responses.set_request_account_id(before[0])
        responses.set_request_region(before[1])


class Deliveries:
    """The invocations that are under way, and those that wait for another attempt."""

    def __init__(self, ended: Callable[[Due], None]) -> None:
        """``ended`` is called after the last attempt of each invocation."""
        self._ended = ended
        self._waiting: list[Delivery] = []

    def add(self, due: Due, now: float) -> None:
        """Takes up an invocation. :meth:`run` makes its first attempt."""
        self._waiting.append(Delivery(due, began=now, next_attempt=now))

    def run(self, now: float) -> None:
        """Makes the attempts that are due."""
        for delivery in [each for each in self._waiting if each.next_attempt <= now]:
            try:
                with acting_for(delivery.due.key):
                    over = delivery.attempt(now)
            except Exception:  # not even a dead letter; the others go on
                _LOG.exception("%s broke", delivery.due.schedule["Arn"])
                over = True
            if over:
                self._waiting.remove(delivery)
                self._ended(delivery.due)

    def clear(self) -> None:
        """Forgets all invocations."""
        self._waiting.clear()
