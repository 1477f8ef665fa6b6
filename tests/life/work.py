"""The work of a service that has accepted a job. Its conduct names one of WORKS."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.life.journal import NO_ANSWER, CalledBack, Journal, Json, now_ms

_UNTIL_410_SECONDS = 40


class Caller:
    """Sends callbacks, and notes them. Repeats a result until it is answered, as a good client does."""

    def __init__(self, journal: Journal, notification: Json) -> None:
        self._journal = journal
        self.notification = notification

    def __call__(self, body: Json) -> int:
        status = NO_ANSWER
        for _ in range(4):
            status = self._post(body, is_genuine=True)
            if body["status"] == "processing" or (status < 500 and status not in (NO_ANSWER, 429)):
                break
            time.sleep(1)
        return status

    def success(self) -> Json:
        """A result that no other callback has."""
        state = f"of {self.notification['execution_id']}"
        correlation_id = secrets.token_hex(4)
        return {"status": "success", "summary": "done", "state": state, "correlation_id": correlation_id}

    def wrongly(self, body: Any) -> None:
        """Sends a callback with a wrong token or body, which must be refused."""
        self._post(body, is_genuine=False)

    def heartbeats(self, count: int, every_seconds: float) -> bool:
        """Sends heartbeats. Returns False as soon as one is answered 410."""
        for number in range(count):
            time.sleep(every_seconds)
            if self({"status": "processing", "progress": 100 * number / count}) == 410:
                return False
        return True

    def _post(self, body: Any, is_genuine: bool) -> int:
        fact = self._journal.begin(
            CalledBack(
                job=self.notification["job_name"],
                execution_id=self.notification["execution_id"],
                attempt=self.notification["attempt"],
                body=body,
                is_genuine=is_genuine,
            )
        )
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(
            self.notification["callback_url"], data, {"Content-Type": "application/json"}, method="POST"
        )
        try:
            with urlopen(request, timeout=30) as answer:
                fact.answer, fact.status = json.load(answer), answer.status
        except HTTPError as refused:
            with refused:
                fact.answer, fact.status = _parsed(refused.read()), refused.code
        except OSError as error:
            fact.answer = str(error)
        fact.answered_ms = now_ms()
        return fact.status


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")


def _succeed(call: Caller, seconds: float) -> None:
    time.sleep(seconds)
    call(call.success())


def _fail(call: Caller, seconds: float) -> None:
    time.sleep(seconds)
    call({"status": "fail", "error": "Life.Failure", "summary": "it was not to be"})


def _fail_with_an_object(call: Caller, seconds: float) -> None:
    time.sleep(seconds)
    call({"status": "fail", "error": {"name": "Life.Object", "items": [1, 2.5, None]}})


def _heartbeats_then_succeed(call: Caller, _: float) -> None:
    if call.heartbeats(4, 3):
        call(call.success())


def _heartbeats_then_silence(call: Caller, _: float) -> None:
    call.heartbeats(2, 2)


def _heartbeats_until_410(call: Caller, _: float) -> None:
    call.heartbeats(_UNTIL_410_SECONDS // 3, 3)


def _silence(call: Caller, _: float) -> None:
    pass


def _a_shorter_deadline(call: Caller, _: float) -> None:
    call({"status": "processing", "progress": 10, "extend_seconds": 3})
    time.sleep(1)
    call(call.success())


def _two_results_at_once(call: Caller, _: float) -> None:
    results = [call.success(), {"status": "fail", "error": "Life.OnSecondThoughts"}]
    with ThreadPoolExecutor(2) as both:
        list(both.map(call, results))


def _two_results(call: Caller, _: float) -> None:
    call({"status": "fail", "error": "Life.TooHasty"})
    call(call.success())


def _the_same_result_three_times(call: Caller, _: float) -> None:
    result = call.success()
    for _again in range(3):
        call(result)


def _garbage_then_succeed(call: Caller, _: float) -> None:
    for body in (b"\x00\xff", b"[]", {"status": "done"}, {**call.success(), "surprise": 1}):
        call.wrongly(body)
    call(call.success())


def _too_late(call: Caller, _: float) -> None:
    time.sleep(call.notification["ttl_seconds"] + 4)
    call({"status": "processing"})
    call(call.success())


WORKS: dict[str, Callable[[Caller, float], None]] = {
    "succeed": _succeed,
    "fail": _fail,
    "fail with an object": _fail_with_an_object,
    "heartbeats, then succeed": _heartbeats_then_succeed,
    "heartbeats, then silence": _heartbeats_then_silence,
    "heartbeats until 410": _heartbeats_until_410,
    "silence": _silence,
    "a shorter deadline, then succeed": _a_shorter_deadline,
    "two results at once": _two_results_at_once,
    "two results": _two_results,
    "the same result three times": _the_same_result_three_times,
    "wrong tokens, then succeed": _succeed,
    "garbage, then succeed": _garbage_then_succeed,
    "too late": _too_late,
}
