"""Lambda: invocations with a deadline, and asynchronous ones with their retries.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from tests.simulation.calls import DELAYS, Calls, Ended, Invocation, Lane, delay_ms
from tests.simulation.choices import Choices
from tests.simulation.scheduler import Scheduler
from tests.simulation.story import Story
from tests.stand_ins.errors import Unsupported

_RETRIES_AFTER_MS = (60_000, 120_000)
_COMES_TWICE = "comes twice"


@dataclass(frozen=True)
class Function:
    """A function as Terraform deploys it."""

    handler: Callable[[Any, LambdaContext], Any]
    timeout_seconds: int


class Lambdas:
    """The functions of the stage."""

    def __init__(
        self,
        functions: Mapping[str, Function],
        scheduler: Scheduler,
        choices: Choices,
        calls: Calls,
        story: Story,
    ) -> None:
        self._functions = functions
        self._scheduler = scheduler
        self._choices = choices
        self._calls = calls
        self._story = story
        self._names: Counter[str] = Counter()
        self.asked: list[tuple[int, str, Any]] = []
        """The events that were put into a queue of a function, and when."""
        self.dead_letters: list[tuple[str, Any]] = []
        self.timed_out = 0
        self.failed: Counter[str] = Counter()
        """How many invocations of each function ended with an error."""
        self.observers: dict[str, Callable[[Invocation, Ended], None]] = {}
        """Who is told of each end of a function: the invocation, and how it ended."""

    def begin(self, function: str, event: Any, label: str) -> Invocation:
        """Begins an invocation; ``label`` names it among those of the run."""
        known = self._functions[function]
        now_ms = self._scheduler.now_ms
        deadline_ms = now_ms + known.timeout_seconds * 1000
        invocation = Invocation(function, f"{function} {label}", now_ms, deadline_ms, event)
        text = json.dumps(event)
        self._story.tell(invocation.label, "begins")
        if observer := self.observers.get(function):
            invocation.when_over.append(partial(observer, invocation))

        def run() -> None:
            try:
                value = known.handler(json.loads(text), self._context(invocation))
                ended = Ended(json.loads(json.dumps(value)))
            except Exception as error:
                cause = json.dumps({"errorMessage": str(error), "errorType": type(error).__name__})
                ended = Ended(error=type(error).__name__, cause=cause)
                self.failed[function] += 1
            self._story.tell(invocation.label, f"ends{f' with {ended.error}' if ended.error else ''}")
            invocation.end(ended)

        invocation.tasks.append(
            self._scheduler.spawn(invocation.label, run, Lane(invocation, invocation.label))
        )
        self._scheduler.after(known.timeout_seconds * 1000, lambda: self._time_out(invocation))
        return invocation

    def begin_asynchronously(self, function: str, event: Any, label: str) -> None:
        """Puts an event into the function's queue; it comes at least once, when there is room for it."""
        self.asked.append((self._scheduler.now_ms, function, event))
        twice = self._choices.deviates(f"{function} {label} event", (_COMES_TWICE,), self._calls.odds.other)
        for number in range(2 if twice else 1):
            own = f"{label} again" if number else label
            self._scheduler.spawn(f"event {function} {own}", partial(self._deliver, function, event, own))

    def _deliver(self, function: str, event: Any, label: str) -> None:
        delay = self._choices.deviates(f"{function} {label} delivery", DELAYS, self._calls.odds.delay)
        self._scheduler.sleep(sum(delay_ms(delay)))
        for number in range(len(_RETRIES_AFTER_MS) + 1):
            if number:
                self._scheduler.sleep(_RETRIES_AFTER_MS[number - 1])
            self._scheduler.sleep(self._calls.out_for_ms("lambda"))
            invocation = self.begin(function, event, f"{label} try {number + 1}" if number else label)
            self._scheduler.wait(invocation.over)
            if not invocation.over.value.error:
                return
        self.dead_letters.append((function, event))
        self._story.tell(f"{function} {label}", "goes to the dead letters")

    def invoke(self, FunctionName: str, InvocationType: str, Payload: bytes) -> dict[str, Any]:
        """What boto3's client does."""
        if InvocationType != "Event":
            raise Unsupported(f"Invoke with {InvocationType}")
        function = FunctionName.rpartition(":")[2]
        lane = self._calls.lane
        self._names[lane.label] += 1
        event = json.loads(Payload)
        self.begin_asynchronously(function, event, f"by {lane.label} {self._names[lane.label]}")
        return {"StatusCode": 202}

    def _time_out(self, invocation: Invocation) -> None:
        if not invocation.over.is_done:
            self.timed_out += 1
            self._story.tell(invocation.label, "times out")
            invocation.end(Ended(error="Sandbox.Timedout", cause="Task timed out"))

    def _context(self, invocation: Invocation) -> LambdaContext:
        context = LambdaContext()
        context._function_name = invocation.function
        context._memory_limit_in_mb = 1_000_000
        context._invoked_function_arn = (
            f"arn:aws:lambda:us-east-1:123456789012:function:{invocation.function}"
        )
        context._aws_request_id = invocation.label
        remaining = lambda: max(invocation.deadline_ms - self._scheduler.now_ms, 0)  # noqa: E731
        context.get_remaining_time_in_millis = remaining  # type: ignore[method-assign]
        return context
