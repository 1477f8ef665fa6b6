"""The service: it is notified by webhook or by SNS, works, and calls back, well or badly."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from jobmanager.targets.webhook import Answer as Answered
from jobmanager.targets.webhook import AnswerTimedOut, NoAnswer
from tests.simulation.api import Api
from tests.simulation.calls import (
    AGAIN,
    DELAYS,
    DIES_AFTER,
    DIES_BEFORE,
    LOST,
    Calls,
    Ended,
    Invocation,
    delay_ms,
)
from tests.simulation.choices import Choices
from tests.simulation.plan import LARGE
from tests.simulation.scheduler import Killed, Scheduler
from tests.simulation.story import Story

type Json = dict[str, Any]
type Attempt = tuple[str, int]

_UNREACHED, _UNANSWERED = "is not reached", "works and does not answer"
_BUSY, _GATEWAY_504, _REFUSES = "answers 503", "works, and a gateway answers 504", "answers 400"
_ASKS_TO_WAIT = {
    "answers 429 and asks to wait 4 s": Answered(429, {"retry-after": "4"}),
    "answers 503 and asks to wait 30 s": Answered(503, {"retry-after": "30"}),
}
_ODD_ANSWERS = (_UNREACHED, _UNANSWERED, _BUSY, *_ASKS_TO_WAIT, _GATEWAY_504, _GATEWAY_504, _REFUSES)
_BUSY_SERVICE_LIKELIHOOD = 1 / 4
_BUSY_ANSWERS = (*_ODD_ANSWERS, *_ASKS_TO_WAIT, *_ASKS_TO_WAIT, *_ASKS_TO_WAIT)
_ANSWERS_WELL = 6
"""How much more likely a webhook is answered well than work is done well."""

_FAILS, _SILENT, _LATE, _CONTRADICTS = "fails", "is silent", "succeeds too late", "succeeds and fails"


@dataclass(frozen=True)
class Wait:
    """Works for so many times ``ttl_seconds``, and so many milliseconds."""

    ttls: float = 0
    ms: int = 0


@dataclass(frozen=True)
class Beat:
    """Sends a heartbeat; ``extends``: asks for so many seconds, 0 for ``ttl_seconds``."""

    extends: int | None = None


@dataclass(frozen=True)
class End:
    """Sends a result; ``beside``: another one at the same time."""

    status: str
    beside: str = ""


@dataclass(eq=False)
class Delivery:
    """A notification that came; ``is_excused``: whoever sent it may not know that it came."""

    is_excused: bool = False
    is_blind: bool = False
    """Whether its sender could not learn that its task no longer waited."""


@dataclass(eq=False)
class Call:
    """A try to notify the service, and when the function began that made it.

    A service that is busy may say, ``waits_since_ms``, that it wants to be called again ``waits_until_ms``.
    """

    at_ms: int
    began_ms: int
    by: str
    """The label of the invocation."""
    waits_since_ms: int = 0
    waits_until_ms: int = 0


@dataclass(frozen=True)
class SentBeat:
    """A heartbeat that asks for time; ``is_accepted``: whether the service knows that it was accepted."""

    at_ms: int
    until_ms: int
    is_accepted: bool


type Script = tuple[Wait | Beat | End, ...]

_A_WHILE, _HALF, _SUCCESS = Wait(ms=1500), Wait(ttls=0.5), End("success")
SCRIPTS: Mapping[str, Script] = {
    "": (_A_WHILE, _SUCCESS),
    _FAILS: (_A_WHILE, End("fail")),
    _SILENT: (),
    _LATE: (Wait(ttls=1, ms=500), _SUCCESS),
    _CONTRADICTS: (_A_WHILE, End("success", beside="fail")),
    "succeeds at once": (_SUCCESS,),
    "succeeds twice": (_A_WHILE, _SUCCESS, Wait(ms=3000), _SUCCESS),
    "beats and succeeds": (_A_WHILE, *(Beat(), _HALF) * 3, _SUCCESS),
    "beats at once and succeeds": (Beat(), _HALF, _SUCCESS),
    "beats too late": (Wait(ttls=1), Beat(), _HALF, _SUCCESS),
    "beats on and on": (Beat(), _HALF) * 40,
    "asks for time and is silent": (_A_WHILE, Beat(extends=0)),
    "asks for 5 seconds and is silent": (_A_WHILE, Beat(extends=5)),
    "works long, asks for 5 seconds and is silent": (Wait(ttls=0.4), Beat(extends=5)),
}
CONDUCTS = tuple(SCRIPTS)[1:]
"""How a service works, beside well. It stops when a heartbeat is refused."""

_NOT_OF_THE_CODE = ("Runtime.ExitError", "Sandbox.Timedout")
_SIGNS_WITHIN_MS = 30_000
_REPEATS_AFTER_MS = (1000, 4000, 15_000, 40_000)


class Service:
    """Takes the notifications of all jobs."""

    def __init__(
        self,
        scheduler: Scheduler,
        choices: Choices,
        calls: Calls,
        api: Api,
        story: Story,
        oddness: float,
        has_secret: Callable[[], bool],
        runs_twice: Callable[[str], bool],
    ) -> None:
        self._scheduler = scheduler
        self._choices = choices
        self._calls = calls
        self._api = api
        self._story = story
        self._oddness = oddness
        is_busy = choices.fraction("the service is busy") < _BUSY_SERVICE_LIKELIHOOD
        self._odd_answers = _BUSY_ANSWERS if is_busy else _ODD_ANSWERS
        self._has_secret = has_secret
        self._runs_twice = runs_twice
        self._secret_since_ms: int | None = None
        self.received: list[Json] = []
        self.unsigned: list[str] = []
        """The notifications that came without a signature, although there was a secret long enough before."""
        self.acknowledged: list[tuple[str, int, str]] = []
        self.deliveries: dict[Attempt, list[Delivery]] = {}
        self.calls: dict[Attempt, list[Call]] = {}
        """The tries to notify the service of an attempt."""
        self.beats: dict[Attempt, list[SentBeat]] = {}

    @property
    def excused(self) -> set[Attempt]:
        """The attempts of which a notification may come twice."""
        return {attempt for attempt, came in self.deliveries.items() if any(each.is_excused for each in came)}

    def notified_by_sns(self, notification: Json) -> None:
        """Takes a message of the topic. One whose answer is lost may come again."""
        self._is_called(notification)
        delivery = self._take(notification, self._calls.lane.invocation)
        if self._calls.fault in (LOST, AGAIN, DIES_AFTER):
            delivery.is_excused = True

    def post(
        self,
        url: str,
        content: bytes,
        headers: Mapping[str, str],
        within_seconds: float,
        wants_body: bool,
        *_: Any,
    ) -> Answered:
        """Answers a webhook, in the place of jobmanager.targets.webhook.post."""
        lane = self._calls.lane
        label = lane.next("webhook")
        notification = json.loads(content)
        call = self._is_called(notification)
        self._check_signature(notification, headers)
        death = self._choices.deviates(f"{label} end", (DIES_BEFORE, DIES_AFTER), self._calls.odds.fault / 4)
        odd = self._choices.deviates(label, self._odd_answers, self._oddness / _ANSWERS_WELL)
        before_ms, after_ms = delay_ms(self._choices.deviates(f"{label} ~", DELAYS, self._calls.odds.delay))
        self._story.tell(lane.label, f"calls the webhook, which {odd or 'answers'} {death}")
        self._scheduler.sleep(before_ms + 10)
        if death == DIES_BEFORE:
            self._die(lane.invocation)
        if odd == _UNREACHED:
            raise NoAnswer("the target was not reached")
        if odd == _REFUSES:
            return Answered(400)
        if odd == _BUSY:
            return Answered(503)
        if asks := _ASKS_TO_WAIT.get(odd):
            call.waits_since_ms = self._scheduler.now_ms
            call.waits_until_ms = call.waits_since_ms + int(asks.retry_after_seconds * 1000)
            return asks
        delivery = self._take(notification, lane.invocation)
        if odd in (_UNANSWERED, _GATEWAY_504):
            delivery.is_excused = True
        if death == DIES_AFTER:
            self._die(lane.invocation)
        if odd == _UNANSWERED:
            self._scheduler.sleep(int(within_seconds * 1000))
            raise AnswerTimedOut("the target did not answer in time")
        if odd == _GATEWAY_504:
            return Answered(504)
        self._scheduler.sleep(after_ms + 10)
        if not wants_body:
            return Answered(202)
        return self._answer_of_sync_job(notification, within_seconds, delivery)

    def _check_signature(self, notification: Json, headers: Mapping[str, str]) -> None:
        """A webhook is signed, if its service had a secret when the signature was due."""
        if self._secret_since_ms is None and self._has_secret():
            self._secret_since_ms = self._scheduler.now_ms
        since_ms = self._secret_since_ms
        is_due = since_ms is not None and self._scheduler.now_ms > since_ms + _SIGNS_WITHIN_MS
        if is_due and "webhook-signature" not in headers:
            self.unsigned.append(f"{notification['execution_id']} was notified without a signature")

    def _answer_of_sync_job(self, notification: Json, within_seconds: float, delivery: Delivery) -> Answered:
        conduct = self._conduct(notification)
        if conduct in (_SILENT, _LATE):
            delivery.is_excused = True
            self._scheduler.sleep(int(within_seconds * 1000))
            raise AnswerTimedOut("the target did not answer in time")
        self._scheduler.sleep(1500)
        if conduct == _FAILS:
            delivery.is_excused = True
            return Answered(500)
        if conduct == _CONTRADICTS:
            return Answered(200, {"content-type": "application/json"}, b'{"state": 7}')
        return Answered(200, {"content-type": "application/json"}, b'{"state": "done"}')

    def _die(self, invocation: Invocation) -> None:
        invocation.end(Ended(error="Runtime.ExitError", cause="Runtime exited"))
        raise Killed

    def _is_called(self, notification: Json) -> Call:
        invocation = self._calls.lane.invocation
        call = Call(self._scheduler.now_ms, invocation.began_ms, invocation.label)
        self.calls.setdefault(_attempt_of(notification), []).append(call)
        return call

    def _take(self, notification: Json, invocation: Invocation) -> Delivery:
        delivery = Delivery()
        if "execution_id" not in notification:
            return delivery
        attempt = _attempt_of(notification)
        self.received.append(notification)
        self._story.tell("service", f"is notified of attempt {attempt[1]} of {attempt[0]}")
        came = self.deliveries.setdefault(attempt, [])
        came.append(delivery)
        self._excuse_sender(delivery, invocation, attempt[0])
        if notification["async"] and len(came) == 1:
            name = f"service {attempt[0]} {attempt[1]}"
            self._scheduler.spawn(name, lambda: self._work(notification))
        return delivery

    def _excuse_sender(self, delivery: Delivery, invocation: Invocation, execution_id: str) -> None:
        """Excuses the notification if its sender does not learn, or cannot note, that it came.

        Of an Express machine the record knows. So only a fault of a call after the notification excuses it.
        """
        is_express = "machine_execution" in invocation.event
        _, _, machine_label = invocation.label.partition(" ")
        if is_express:
            delivery.is_excused = self._runs_twice(execution_id)
        else:
            is_unheard = f"{machine_label} invoke" in self._choices.deviations
            delivery.is_blind = invocation.is_task_unknown
            delivery.is_excused = is_unheard or delivery.is_blind
        faults_before = invocation.faults

        def over(ended: Ended) -> None:
            is_not_noted = is_express and invocation.faults > faults_before
            if ended.error in _NOT_OF_THE_CODE or is_not_noted:
                delivery.is_excused = True

        invocation.when_over.append(over)

    def _conduct(self, notification: Json) -> str:
        label = f"service {notification['execution_id']} {notification['attempt']}"
        conduct = self._choices.deviates(label, CONDUCTS, self._oddness)
        self._story.tell("service", f"{conduct or 'succeeds'} in {label}")
        return conduct

    def _work(self, notification: Json) -> None:
        ttl_ms = notification["ttl_seconds"] * 1000
        call = _Caller(self, notification)
        for step in SCRIPTS[self._conduct(notification)]:
            match step:
                case Wait(ttls, ms):
                    self._scheduler.sleep(int(ttls * ttl_ms) + ms)
                case Beat(extends):
                    if not call.beats(extends):
                        return
                case End(status, beside):
                    if beside:
                        other = _Caller(self, notification, "other ")
                        self._scheduler.spawn(f"{call.label} {beside}", partial(other.ends, beside))
                    call.ends(status)

    def has_beaten(self, attempt: Attempt, at_ms: int, seconds: int, is_accepted: bool) -> None:
        """Notes a heartbeat that asked for so many seconds."""
        beat = SentBeat(at_ms, at_ms + seconds * 1000, is_accepted)
        self.beats.setdefault(attempt, []).append(beat)

    @property
    def now_ms(self) -> int:
        """The time."""
        return self._scheduler.now_ms

    def size_of_state(self, label: str) -> int:
        """The length of the state that a call reports."""
        return self._choices.one_of(f"{label} size of the state", (0, LARGE))

    def call_back(self, label: str, token: str, body: Json) -> int:
        """Calls back until there is an answer; returns its status."""
        status = 0
        for number, wait_ms in enumerate((*_REPEATS_AFTER_MS, 0)):
            answer = self._api.request(
                "receive_callback", f"{label} {number + 1}", {"callback_token": token}, body
            )
            status = answer.status
            if not answer.may_be_repeated:
                break
            self._scheduler.sleep(wait_ms)
        return status


def _attempt_of(notification: Json) -> Attempt:
    """Of a test, which belongs to no execution, an attempt of no execution."""
    return notification.get("execution_id", ""), notification.get("attempt", 1)


class _Caller:
    """Calls back about one attempt."""

    def __init__(self, service: Service, notification: Json, kind: str = "") -> None:
        self._service = service
        self._attempt = _attempt_of(notification)
        self._ttl_seconds = int(notification["ttl_seconds"])
        self._token = notification["callback_url"].rpartition("/")[2]
        self._number = 0
        self.label = f"{kind}callback {self._attempt[0]} {self._attempt[1]}"

    def back(self, body: Json) -> int:
        self._number += 1
        return self._service.call_back(f"{self.label} {self._number}", self._token, body)

    def beats(self, extends: int | None) -> bool:
        """Sends a heartbeat; whether the attempt goes on."""
        at_ms, seconds = self._service.now_ms, extends or self._ttl_seconds
        asked = {} if extends is None else {"extend_seconds": seconds}
        is_accepted = self.back({"status": "processing", "progress": 0.5, **asked}) == 200
        self._service.has_beaten(self._attempt, at_ms, seconds, is_accepted)
        return is_accepted

    def ends(self, status: str) -> None:
        size = self._service.size_of_state(self.label)
        state = {"state": self.label.ljust(size)} if status == "success" else {}
        if self.back({"status": status, "summary": status, **state}) == 200:
            self._service.acknowledged.append((*self._attempt, status))
