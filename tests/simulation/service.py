"""The service: it is notified by webhook or by SNS, works, and calls back, well or badly."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
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
from tests.simulation.scheduler import Killed, Scheduler
from tests.simulation.story import Story

type Json = dict[str, Any]
type Attempt = tuple[str, int]

_UNREACHED, _UNANSWERED = "is not reached", "works and does not answer"
_BUSY, _ASKS_TO_WAIT = "answers 503", "answers 429 and asks to wait 4 s"
_GATEWAY_504, _REFUSES = "works, and a gateway answers 504", "answers 400"
_ODD_WEBHOOKS = (
    _UNREACHED,
    _UNANSWERED,
    _BUSY,
    _ASKS_TO_WAIT,
    _GATEWAY_504,
    _REFUSES,
    DIES_BEFORE,
    DIES_AFTER,
)

_FAILS, _SILENT, _BEATS, _BEATS_LATE = "fails", "is silent", "beats and succeeds", "beats too late"
_AT_ONCE, _LATE, _TWICE = "succeeds at once", "succeeds too late", "succeeds twice"
_CONTRADICTS, _EXTENDS = "succeeds and fails", "asks for time and is silent"
CONDUCTS = (
    _FAILS,
    _SILENT,
    _BEATS,
    _BEATS_LATE,
    _AT_ONCE,
    _LATE,
    _TWICE,
    _CONTRADICTS,
    _EXTENDS,
)
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
    ) -> None:
        self._scheduler = scheduler
        self._choices = choices
        self._calls = calls
        self._api = api
        self._story = story
        self._oddness = oddness
        self._has_secret = has_secret
        self._secret_since_ms: int | None = None
        self.received: list[Json] = []
        self.unsigned: list[str] = []
        """The notifications that came without a signature, although there was a secret long enough before."""
        self.excused: set[Attempt] = set()
        self.acknowledged: list[tuple[str, int, str]] = []
        self._seen: Counter[Attempt] = Counter()

    def notified_by_sns(self, notification: Json) -> None:
        """Takes a message of the topic. One whose answer is lost may come again."""
        if self._calls.fault in (LOST, AGAIN, DIES_AFTER):
            self._excuse(notification)
        self._take(notification, self._calls.lane.invocation)

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
        self._check_signature(notification, headers)
        odd = self._choices.deviates(label, _ODD_WEBHOOKS, self._calls.odds.fault)
        before_ms, after_ms = delay_ms(self._choices.deviates(f"{label} ~", DELAYS, self._calls.odds.delay))
        self._story.tell(lane.label, f"calls the webhook{f', which {odd}' if odd else ''}")
        self._scheduler.sleep(before_ms + 10)
        if odd == DIES_BEFORE:
            self._die(lane.invocation)
        if odd == _UNREACHED:
            raise NoAnswer("the target was not reached")
        if odd == _REFUSES:
            return Answered(400)
        if odd == _BUSY:
            return Answered(503)
        if odd == _ASKS_TO_WAIT:
            return Answered(429, {"retry-after": "4"})
        if odd in (_UNANSWERED, _GATEWAY_504, DIES_AFTER):
            self._excuse(notification)
        self._take(notification, lane.invocation)
        if odd == DIES_AFTER:
            self._die(lane.invocation)
        if odd == _UNANSWERED:
            self._scheduler.sleep(int(within_seconds * 1000))
            raise AnswerTimedOut("the target did not answer in time")
        if odd == _GATEWAY_504:
            return Answered(504)
        self._scheduler.sleep(after_ms + 10)
        if not wants_body:
            return Answered(202)
        return self._answer_of_sync_job(notification, within_seconds)

    def _check_signature(self, notification: Json, headers: Mapping[str, str]) -> None:
        """A webhook is signed, if its service had a secret when the signature was due."""
        if self._secret_since_ms is None and self._has_secret():
            self._secret_since_ms = self._scheduler.now_ms
        since_ms = self._secret_since_ms
        is_due = since_ms is not None and self._scheduler.now_ms > since_ms + _SIGNS_WITHIN_MS
        if is_due and "webhook-signature" not in headers:
            self.unsigned.append(f"{notification['execution_id']} was notified without a signature")

    def _answer_of_sync_job(self, notification: Json, within_seconds: float) -> Answered:
        conduct = self._conduct(notification)
        if conduct in (_SILENT, _LATE):
            self._excuse(notification)
            self._scheduler.sleep(int(within_seconds * 1000))
            raise AnswerTimedOut("the target did not answer in time")
        self._scheduler.sleep(1500)
        if conduct == _FAILS:
            self._excuse(notification)
            return Answered(500)
        if conduct == _CONTRADICTS:
            return Answered(200, {"content-type": "application/json"}, b'{"state": 7}')
        return Answered(200, {"content-type": "application/json"}, b'{"state": "done"}')

    def _die(self, invocation: Invocation) -> None:
        invocation.end(Ended(error="Runtime.ExitError", cause="Runtime exited"))
        raise Killed

    def _excuse(self, notification: Json) -> None:
        if "execution_id" in notification:
            self.excused.add((notification["execution_id"], notification["attempt"]))

    def _take(self, notification: Json, invocation: Invocation) -> None:
        if "execution_id" not in notification:
            return
        attempt = (notification["execution_id"], notification["attempt"])
        self.received.append(notification)
        self._story.tell("service", f"is notified of attempt {attempt[1]} of {attempt[0]}")
        self._seen[attempt] += 1
        # Whoever does not learn that the function has ended well notifies again.
        _, _, machine_label = invocation.label.partition(" ")
        if f"{machine_label} invoke" in self._choices.deviations:
            self._excuse(notification)
        invocation.when_over.append(
            lambda ended: self._excuse(notification) if ended.error in _NOT_OF_THE_CODE else None
        )
        if notification["async"] and self._seen[attempt] == 1:
            name = f"service {attempt[0]} {attempt[1]}"
            self._scheduler.spawn(name, lambda: self._work(notification))

    def _conduct(self, notification: Json) -> str:
        label = f"service {notification['execution_id']} {notification['attempt']}"
        conduct = self._choices.deviates(label, CONDUCTS, self._oddness)
        self._story.tell("service", f"{conduct or 'succeeds'} in {label}")
        return conduct

    def _work(self, notification: Json) -> None:
        conduct = self._conduct(notification)
        ttl_ms = notification["ttl_seconds"] * 1000
        call = _Caller(self, notification)
        sleep = self._scheduler.sleep
        if conduct == _SILENT:
            return
        if conduct != _AT_ONCE:
            sleep(1500)
        if conduct == _FAILS:
            call.ends("fail")
        elif conduct == _BEATS:
            for _ in range(3):
                if call.back({"status": "processing", "progress": 0.5}) != 200:
                    return
                sleep(ttl_ms // 2)
            call.ends("success")
        elif conduct == _BEATS_LATE:
            sleep(ttl_ms - 1500)
            call.back({"status": "processing"})
            sleep(ttl_ms // 2)
            call.ends("success")
        elif conduct == _EXTENDS:
            call.back({"status": "processing", "extend_seconds": notification["ttl_seconds"]})
        elif conduct == _LATE:
            sleep(ttl_ms - 1000)
            call.ends("success")
        elif conduct == _CONTRADICTS:
            other = _Caller(self, notification, "other ")
            self._scheduler.spawn(f"{call.label} fails", lambda: other.ends("fail"))
            call.ends("success")
        else:
            call.ends("success")
            if conduct == _TWICE:
                sleep(3000)
                call.ends("success")

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


class _Caller:
    """Calls back about one attempt."""

    def __init__(self, service: Service, notification: Json, kind: str = "") -> None:
        self._service = service
        self._attempt = (notification["execution_id"], notification["attempt"])
        self._token = notification["callback_url"].rpartition("/")[2]
        self._number = 0
        self.label = f"{kind}callback {self._attempt[0]} {self._attempt[1]}"

    def back(self, body: Json) -> int:
        self._number += 1
        return self._service.call_back(f"{self.label} {self._number}", self._token, body)

    def ends(self, status: str) -> None:
        if self.back({"status": status, "summary": status}) == 200:
            self._service.acknowledged.append((*self._attempt, status))
