"""Exclusive jobs, sync jobs, and which scenes are played."""

import json
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from sjm.rehearsal import playing, rehearse
from sjm.rehearsal.playing import SceneUnknown, play, selected
from sjm.rehearsal.scenes import NAMES, TOGETHER
from sjm.rehearsal.settings import Waits
from tests.unit.sjm.rehearsal.receivers import Body, Receiver
from tests.unit.sjm.rehearsal.rehearsals import settings_for

pytestmark = pytest.mark.slow(0.1)  # they wait, so they run beside those that compute

LONG = Waits(20, answer_within_seconds=40)
"""An execution still runs when the next one comes, also on a slow machine."""


class CountsExecutions(Receiver):
    """Notes how many executions run at the same time, and their fencing tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.running: set[str] = set()
        self.most = 0
        self.tokens: dict[str, int] = {}

    def work(self, body: Body) -> None:
        name = body["execution_id"]
        with self._lock:
            self.running.add(name)
            self.most = max(self.most, len(self.running))
            self.tokens[name] = body["fencing_token"]
        try:
            super().work(body)
        finally:
            self.ended(body)

    def report(self, body: Body, **result: str) -> None:
        self.ended(body)
        super().report(body, **result)

    def ended(self, body: Body) -> None:
        with self._lock:
            self.running.discard(body["execution_id"])


ONE_BY_ONE = ("good", "test", "rotated", "second-attempt", "unknown-fields", "odd-payload")


def test_an_exclusive_job_runs_one_execution_at_a_time() -> None:
    with CountsExecutions() as receiver:
        settings = settings_for(receiver.url, long_payload=None, exclusive=True)
        card = play(settings, ONE_BY_ONE)

    card.assert_passed()
    assert [each.scene for each in card.results] == list(ONE_BY_ONE)
    assert receiver.most == 1
    assert sorted(receiver.tokens.values()) == [1, 2, 3, 4, 5]


def test_an_execution_takes_the_place_of_a_running_one() -> None:
    with CountsExecutions() as receiver:
        card = play(settings_for(receiver.url, LONG, exclusive=True), ["good", "replaced"])

    card.assert_passed()
    assert "and it worked, and the other one got 410" in card["replaced"].verdict.seen
    assert receiver.most == 2
    assert list(receiver.tokens.values()) == [1, 2, 3]


class RefusesWhileItRuns(CountsExecutions):
    def receive(self, headers: Mapping[str, str], content: bytes) -> tuple[int, Body | None]:
        return (409, None) if self.running else super().receive(headers, content)


class IgnoresWhatComesWhileItRuns(CountsExecutions):
    def receive(self, headers: Mapping[str, str], content: bytes) -> tuple[int, Body | None]:
        return (202, None) if self.running else super().receive(headers, content)


@pytest.mark.slow(0.7)
@pytest.mark.parametrize(
    ("kind", "seen"),
    [(RefusesWhileItRuns, "answered 409"), (IgnoresWhatComesWhileItRuns, "and no callback came")],
)
def test_a_receiver_that_takes_nothing_while_it_runs_fails(kind: type[Receiver], seen: str) -> None:
    with kind() as receiver:
        card = play(settings_for(receiver.url, LONG, exclusive=True), ["good", "stop", "replaced"])

    assert [each.scene for each in card.failures] == ["replaced"]
    assert seen in card["replaced"].verdict.seen
    assert "Take a new execution also while one runs" in card["replaced"].verdict.fixes[0]


def test_an_interruption_while_the_scenes_begin_stops_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool would wait for those that have begun."""
    stopped = threading.Event()

    class Interrupted(ThreadPoolExecutor):
        def submit(self, *_: Any, **__: Any) -> "Future[Any]":
            if self._threads:
                raise KeyboardInterrupt
            return super().submit(stopped.wait, 60)

    monkeypatch.setattr(playing, "ThreadPoolExecutor", Interrupted)
    manager: Any = SimpleNamespace(settings=settings_for("http://127.0.0.1:9"))
    with pytest.raises(KeyboardInterrupt):
        playing._played_together(TOGETHER, manager, stopped.set)

    assert stopped.is_set()


def test_only_a_job_with_a_lock_is_replaced() -> None:
    with Receiver() as receiver:
        card = play(settings_for(receiver.url), ["good", "replaced"])

    assert [each.scene for each in card.results] == ["good"]


class HasTwoWorkers(Receiver):
    """Says that it is busy, as a good receiver does, while it works on two executions."""

    def __init__(self) -> None:
        super().__init__()
        self.places = threading.Semaphore(2)
        self.was_busy = 0

    def receive(self, headers: Mapping[str, str], content: bytes) -> tuple[int, Body | None]:
        is_genuine = self.is_genuine(headers, content)
        if is_genuine and "execution_id" in json.loads(content) and not self.places.acquire(blocking=False):
            self.was_busy += 1
            return 503, None
        return super().receive(headers, content)

    def answer_to_duplicate(self) -> int:
        self.places.release()
        return super().answer_to_duplicate()

    def perform(self, body: Body) -> None:
        try:
            time.sleep(0.2)
            super().perform(body)
        finally:
            self.places.release()


def test_a_receiver_that_says_when_it_is_busy_is_notified_again() -> None:
    with HasTwoWorkers() as receiver:
        card = play(settings_for(receiver.url), NAMES)

    card.assert_passed()
    assert receiver.was_busy


class IsAlwaysBusy(Receiver):
    def receive(self, *arguments: Any) -> tuple[int, Body | None]:
        return 503, None


def test_a_receiver_that_is_always_busy_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Waits, "busy_seconds", 1.5)
    with IsAlwaysBusy() as receiver:
        card = play(settings_for(receiver.url, Waits(10)), ["good"])

    verdict = card["good"].verdict
    assert verdict.state == "failed"
    assert "answered 503" in verdict.seen
    assert "is busy" in verdict.fixes[0]


class AnswersNonsense(Receiver):
    def receive(self, *arguments: Any) -> tuple[int, Body | None]:
        status, body = super().receive(*arguments)
        return status, {"state": 1} if body else None


def test_a_sync_job_with_an_answer_that_cannot_be_read() -> None:
    with AnswersNonsense() as receiver:
        card = play(settings_for(receiver.url, is_async=False), NAMES)

    assert [each.scene for each in card.failures] == ["sync-answer"]
    assert "state: expected a string" in card["sync-answer"].verdict.seen
    assert {each.verdict.state for each in card.results[1:]} == {"not tried"}


def test_scenes_are_chosen_by_name() -> None:
    assert selected((), ()) == list(NAMES)
    assert selected(["stale", "good"], ["good"]) == ["stale"]
    with pytest.raises(SceneUnknown, match="'stall' is no scene; expected one of good, "):
        selected([], ["stall"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"secret": "whsec_!"}, "the webhook secret: expected whsec_ and base64"),
        ({"timeout": 9}, "at least 10 seconds"),
        ({"only": ["stall"]}, "is no scene"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rehearse("http://127.0.0.1:9/", **arguments)
