"""SQS: the queue of spread starts and of executions that wait for their time, which Lambda reads, one by one.

A message is delayed, comes at least once, and comes again if the function fails, five times in all, as
terraform/spread.tf has it.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.simulation.calls import Calls
from tests.simulation.choices import Choices
from tests.simulation.lambdas import Lambdas
from tests.simulation.scheduler import Scheduler
from tests.simulation.story import Story
from tests.stand_ins.errors import Unsupported, client_error

type Json = dict[str, Any]

_READER = "start_spread_executions"
_LONGEST_DELAY_SECONDS = 900
_MOST_MESSAGES = 10
_VISIBLE_AGAIN_AFTER_MS = 360_000
_RECEIVES = 5
_TWICE, NOT_TAKEN = "comes twice", "is not taken"
_LATE_MS = {"comes 2 s late": 2000, "comes 40 s late": 40_000}


class Queue:
    """The queue, and the function that reads it."""

    def __init__(
        self, scheduler: Scheduler, choices: Choices, calls: Calls, lambdas: Lambdas, story: Story
    ) -> None:
        self._scheduler = scheduler
        self._choices = choices
        self._calls = calls
        self._lambdas = lambdas
        self._story = story
        self._count = 0

    def send_message_batch(self, QueueUrl: str, Entries: Sequence[Json]) -> Json:
        """Takes messages, or some of them."""
        if len(Entries) > _MOST_MESSAGES:
            raise Unsupported(f"{len(Entries)} messages in one call")
        failed = []
        for entry in Entries:
            self._count += 1
            label = f"message {self._count}"
            odd = self._choices.deviates(label, (_TWICE, *_LATE_MS, NOT_TAKEN), self._calls.odds.other)
            if odd == NOT_TAKEN:
                failed.append({"Id": entry["Id"], "Message": "not now", "SenderFault": False})
                continue
            if not 0 <= entry["DelaySeconds"] <= _LONGEST_DELAY_SECONDS:
                raise Unsupported(f"a delay of {entry['DelaySeconds']} s")
            self._story.tell(label, f"waits for {entry['DelaySeconds']} s {odd}")
            for number in range(2 if odd == _TWICE else 1):
                own = f"{label}{' again' if number else ''}"
                took_ms = self._choices.between(f"{own} takes", 5, 500)
                wait_ms = entry["DelaySeconds"] * 1000 + took_ms + _LATE_MS.get(odd, 0)
                self._scheduler.after(wait_ms, self._reader(own, entry["MessageBody"]))
        return {"Successful": [], "Failed": failed}

    def send_message(self, QueueUrl: str, MessageBody: str, DelaySeconds: int) -> Json:
        """Takes a message, or raises."""
        entry = {"Id": "0", "MessageBody": MessageBody, "DelaySeconds": DelaySeconds}
        if self.send_message_batch(QueueUrl, [entry])["Failed"]:
            raise client_error("ServiceUnavailable", "not now", "SendMessage")
        return {}

    def _reader(self, label: str, body: str) -> Any:
        return lambda: self._scheduler.spawn(label, lambda: self._deliver(label, body))

    def _deliver(self, label: str, body: str) -> None:
        event = {"Records": [{"messageId": label, "body": body}]}
        for number in range(1, _RECEIVES + 1):
            self._scheduler.sleep(self._calls.out_for_ms("sqs") + self._calls.out_for_ms("lambda"))
            invocation = self._lambdas.begin(_READER, event, f"{label} {number}")
            self._scheduler.wait(invocation.over)
            if not invocation.over.value.error:
                return
            self._scheduler.sleep(_VISIBLE_AGAIN_AFTER_MS)
        self._lambdas.dead_letters.append((_READER, event))
        self._story.tell(label, "goes to the dead letters")
