"""API Gateway, and whoever calls it: a request that may be lost on its way, as its answer may."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.simulation.calls import DELAYS, Calls, delay_ms
from tests.simulation.choices import Choices
from tests.simulation.lambdas import Lambdas
from tests.simulation.scheduler import Scheduler
from tests.simulation.story import Story

_LOST, _UNANSWERED, _TWICE = "is lost on its way", "gets no answer", "comes twice"
_ODD = (_LOST, _UNANSWERED, _TWICE)
_GATEWAY_WAITS_MS = 30_000
_CALLER = "arn:aws:iam::123456789012:user/ann"


@dataclass(frozen=True)
class Answer:
    """An answer; the status is 0 if there was none."""

    status: int
    body: Any = None

    @property
    def may_be_repeated(self) -> bool:
        """Whether the caller does not know, or was asked to come again."""
        return self.status in {0, 429} or self.status >= 500


class Api:
    """Calls the functions behind the routes. Use it within a task."""

    def __init__(
        self, scheduler: Scheduler, choices: Choices, calls: Calls, lambdas: Lambdas, story: Story
    ) -> None:
        self._scheduler = scheduler
        self._choices = choices
        self._calls = calls
        self._lambdas = lambdas
        self._story = story

    def request(
        self,
        function: str,
        label: str,
        path: Mapping[str, str],
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Makes one request."""
        odd = self._choices.deviates(f"request {function} {label}", _ODD, self._calls.odds.fault)
        delay = self._choices.deviates(f"request {function} {label} ~", DELAYS, self._calls.odds.delay)
        before_ms, after_ms = delay_ms(delay)
        self._story.tell(label, f"asks {function} {'' if body is None else json.dumps(body)} {odd}")
        self._scheduler.sleep(before_ms + 5)
        if odd == _LOST or self._calls.is_out("lambda"):
            self._scheduler.sleep(3000)
            return Answer(0)
        event = {
            "version": "2.0",
            "headers": {"content-type": "application/json", **(headers or {})},
            "pathParameters": dict(path),
            "requestContext": {"authorizer": {"iam": {"userArn": _CALLER}}},
            "body": None if body is None else json.dumps(body),
        }
        invocation = self._lambdas.begin(function, event, label)
        if odd == _TWICE:
            self._lambdas.begin(function, event, f"{label} second")
        self._scheduler.wait(invocation.over, _GATEWAY_WAITS_MS)
        self._scheduler.sleep(after_ms + 5)
        if odd == _UNANSWERED or not invocation.over.is_done:
            answer = Answer(0)
        elif invocation.over.value.error:
            answer = Answer(500)
        else:
            value = invocation.over.value.value
            answer = Answer(value["statusCode"], json.loads(value["body"]) if "body" in value else None)
        self._story.tell(label, f"is answered {answer.status or 'nothing'}")
        return answer
