"""Exclusive jobs, sync jobs, and which scenes are played."""

from typing import Any

import pytest

from sjm.rehearsal import rehearse
from sjm.rehearsal.playing import SceneUnknown, play, selected
from sjm.rehearsal.scenes import NAMES
from tests.unit.sjm.rehearsal.receivers import Body, Receiver
from tests.unit.sjm.rehearsal.rehearsals import settings_for


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
        super().work(body)

    def report(self, body: Body, **result: str) -> None:
        with self._lock:
            self.running.discard(body["execution_id"])
        super().report(body, **result)


ONE_BY_ONE = ("good", "test", "rotated", "second-attempt", "unknown-fields", "odd-payload")


def test_an_exclusive_job_runs_one_execution_at_a_time() -> None:
    with CountsExecutions() as receiver:
        settings = settings_for(receiver.url, long_payload=None, exclusive=True)
        card = play(settings, ONE_BY_ONE)

    card.assert_passed()
    assert [each.scene for each in card.results] == list(ONE_BY_ONE)
    assert receiver.most == 1
    assert sorted(receiver.tokens.values()) == [1, 2, 3, 4, 5]


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
