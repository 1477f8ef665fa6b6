"""What a handler sees, and what it lets the manager know."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from sjm.receiver import OutOfTime, Run, Stopped, Success
from sjm.receiver.callback import CallbackAnswer
from sjm.receiver.heartbeats import Heartbeats
from sjm.receiver.notification import Notification

FIELDS = {
    "service_name": "billing",
    "job_name": "nightly",
    "execution_id": "x-1",
    "attempt": 2,
    "callback_url": "https://manager.example/callback/secret",
    "ttl_seconds": 300,
    "heartbeat_interval_seconds": 40,
    "payload": '{"ledger": 7}',
    "scheduled_time_ms": 1795399200000,
    "fencing_token": 42,
    "last_successful_execution": {"state": "4711"},
}


class Answers:
    """Callbacks that are answered as was said, and a clock."""

    name = "nightly"

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.timeouts: list[float] = []
        self.answers: list[CallbackAnswer] = []
        self.now = 1000.0

    def post(self, body: dict[str, Any], timeout_seconds: float) -> CallbackAnswer:
        self.bodies.append(body)
        self.timeouts.append(timeout_seconds)
        return self.answers.pop(0) if self.answers else CallbackAnswer(200)

    def clock(self) -> float:
        return self.now


class Scheduled(Heartbeats):
    """Heartbeats that nobody sends; notes when they are wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.added: list[float] = []
        self.hurried = 0

    def add(self, beating: Any, seconds: float) -> None:
        self.added.append(seconds)

    def hurry(self, beating: Any, seconds: float) -> None:
        self.hurried += 1


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def heartbeats() -> Scheduled:
    return Scheduled()


@pytest.fixture
def run(answers: Answers, heartbeats: Scheduled) -> Run:
    return make_run(answers, heartbeats)


def make_run(answers: Answers, heartbeats: Heartbeats, fields: Any = FIELDS, **options: Any) -> Run:
    notification = Notification(fields, "Root=1")
    callbacks: Any = None if notification.is_sync else answers
    return Run(notification, callbacks, heartbeats, clock=answers.clock, **options)


def test_it_has_what_the_notification_says(run: Run) -> None:
    assert (run.service_name, run.job_name, run.execution_id, run.attempt) == ("billing", "nightly", "x-1", 2)
    assert (run.payload, run.json()) == ('{"ledger": 7}', {"ledger": 7})
    assert run.scheduled_time == datetime(2026, 11, 23, 2, tzinfo=UTC)
    assert (run.fencing_token, run.state, run.trace_header) == (42, "4711", "Root=1")
    assert (run.ttl_seconds, run.is_sync, run.is_stopped, run.remaining_seconds) == (300, False, False, None)
    assert "secret" not in repr(run)


def test_it_says_what_the_notification_lacks(answers: Answers, heartbeats: Scheduled) -> None:
    fields = {"job_name": "nightly", "execution_id": "x", "async": False, "last_successful_execution": None}
    run = make_run(answers, heartbeats, fields)

    assert (run.service_name, run.attempt, run.payload, run.json()) == ("", 1, "", None)
    assert (run.fencing_token, run.state, run.is_sync) == (None, None, True)


def test_it_tracks_items_and_tells_how_many_are_done(run: Run, answers: Answers) -> None:
    seen = []
    for item in run.track([7, 8, 9, 10]):
        seen.append(item)
        run.beat()

    assert seen == [7, 8, 9, 10]
    assert answers.bodies == [
        {"status": "processing"},
        *({"status": "processing", "progress": percent} for percent in (25, 50, 75)),
    ]
    run.beat()
    assert answers.bodies[-1] == {"status": "processing", "progress": 100}


def test_it_tracks_items_whose_number_is_said_or_unknown(run: Run, answers: Answers) -> None:
    list(run.track(iter([1, 2]), total=4))
    run.beat()
    list(run.track(iter([1, 2])))
    run.beat()
    list(run.track([1, 2, 3], total=2))  # there were more than was said
    run.beat()
    list(run.track([]))

    assert [each["progress"] for each in answers.bodies] == [50, 50, 100]


def test_it_tracks_what_comes_asynchronously(run: Run, answers: Answers) -> None:
    async def items() -> AsyncIterator[int]:
        for number in range(4):
            yield number

    async def work() -> list[int]:
        seen = []
        async for item in run.track(items(), total=4):
            seen.append(item)
            if item == 2:
                run.beat()
                answers.answers.append(CallbackAnswer(410))
                run.beat()
        return seen

    with pytest.raises(Stopped, match="the execution is over"):
        asyncio.run(work())
    assert answers.bodies[0]["progress"] == 50


def test_it_stops_before_the_next_item_after_410(run: Run, answers: Answers) -> None:
    answers.answers = [CallbackAnswer(410, {"detail": "The lock has passed to another execution"})]
    done = []

    def work() -> None:
        for item in run.track(range(10)):
            done.append(item)
            if item == 3:
                assert run.beat() is None

    with pytest.raises(Stopped, match="The lock has passed"):
        work()
    assert done == [0, 1, 2, 3]
    assert run.is_stopped
    assert run.beat() is None
    assert len(answers.bodies) == 1
    for check in (run.check, run.progress, run.heartbeat):
        with pytest.raises(Stopped):
            check()


def test_the_last_item_that_is_done_counts_even_if_the_time_is_up(
    answers: Answers, heartbeats: Scheduled
) -> None:
    run = make_run(answers, heartbeats, deadline=1010.0)
    assert run.remaining_seconds == 10
    for item in run.track([1, 2]):
        answers.now = 1009 if item == 1 else 1011

    assert run.remaining_seconds == 0
    with pytest.raises(OutOfTime, match="is up"):
        run.check()
    run.run_out_of_time("the service is shutting down")
    with pytest.raises(OutOfTime, match="shutting down"):
        list(run.track([1]))


def test_heartbeats_are_due_at_half_of_the_interval(
    run: Run, answers: Answers, heartbeats: Scheduled
) -> None:
    run.begin()

    assert heartbeats.added == [20]
    assert run.beat() == 20
    assert answers.timeouts == [10]


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (CallbackAnswer(0), 5),
        (CallbackAnswer(500), 5),
        (CallbackAnswer(429, retry_after_seconds=7), 7),
        (CallbackAnswer(429, retry_after_seconds=700), 10),
        (CallbackAnswer(403), 20),
        (CallbackAnswer(400, {"errors": ["x"]}), 20),
    ],
)
def test_a_heartbeat_that_was_not_taken_is_repeated_while_there_is_time(
    run: Run,
    answers: Answers,
    answer: CallbackAnswer,
    seconds: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run.progress(10)
    answers.answers = [answer, answer]

    assert [run.beat(), run.beat(), run.beat()] == [seconds, seconds, 20]
    assert [each.get("progress") for each in answers.bodies] == [10, 10, 10]
    assert caplog.text.count("a heartbeat was not taken") == 1  # once a run
    assert not run.is_stopped


def test_progress_hurries_when_there_is_news_but_not_for_each_item(
    run: Run, answers: Answers, heartbeats: Scheduled
) -> None:
    for percent in range(10):
        run.progress(percent)
    assert heartbeats.hurried == 0  # it has only begun
    answers.now += 10
    run.progress(9.5)
    assert heartbeats.hurried == 0  # no whole percent
    run.progress(10.5)
    assert heartbeats.hurried == 1
    run.beat()
    run.progress(11)
    assert heartbeats.hurried == 1


def test_a_run_on_progress_is_silent_when_it_hangs(answers: Answers, heartbeats: Scheduled) -> None:
    run = make_run(answers, heartbeats, only_on_progress=True)
    answers.now += 20
    assert run.beat() == 20
    assert answers.bodies == []
    answers.now += 1
    run.progress()
    assert heartbeats.hurried == 1  # a heartbeat is overdue, so the next one does not wait
    assert run.beat() == 20
    assert answers.bodies == [{"status": "processing"}]
    assert run.beat() == 20
    assert len(answers.bodies) == 1


@pytest.mark.parametrize("percent", [-1, 100.1, float("nan")])
def test_progress_is_from_0_to_100(run: Run, percent: float) -> None:
    with pytest.raises(ValueError, match="0 to 100"):
        run.progress(percent)


def test_a_heartbeat_by_hand_is_sent_at_once(run: Run, answers: Answers, heartbeats: Scheduled) -> None:
    answers.now += 100
    assert run.heartbeat(50) is not None
    answers.answers = [CallbackAnswer(0)]
    answer = run.heartbeat()
    assert answer is not None
    assert answer.status == 0
    assert heartbeats.hurried == 0  # otherwise there would be two
    answers.answers = [CallbackAnswer(410)]
    with pytest.raises(Stopped):
        run.heartbeat()

    assert [each.get("progress") for each in answers.bodies] == [50, 50, 50]


def test_a_sync_run_sends_nothing(answers: Answers, heartbeats: Scheduled) -> None:
    fields = {"job_name": "nightly", "execution_id": "x", "async": False}
    run = make_run(answers, heartbeats, fields)
    run.begin()
    answers.now += 1000
    run.progress(50)
    assert run.heartbeat(60) is None
    list(run.track([1, 2]))
    run.end()

    assert (answers.bodies, heartbeats.added, heartbeats.hurried) == ([], [], 0)


def test_a_result_that_is_set_is_checked_where_it_is_set(run: Run) -> None:
    assert run.result is None
    run.result = Success(state="1")
    assert run.result.state == "1"
    run.result = "closed"
    assert isinstance(run.result, Success)
    with pytest.raises(TypeError):
        run.result = False  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("percent", "sent"), [(Decimal("12.5"), 12.5), (Fraction(1, 4), 0.25), (True, 1), (50, 50), (99.5, 99.5)]
)
def test_progress_is_a_number_that_json_has(run: Run, answers: Answers, percent: Any, sent: float) -> None:
    run.heartbeat(percent)

    assert json.dumps(answers.bodies[0]["progress"]) == json.dumps(sent)


@pytest.mark.parametrize("total", [-1, 0])
def test_a_total_that_is_none_is_no_progress(run: Run, answers: Answers, total: int) -> None:
    assert list(run.track("ab", total)) == ["a", "b"]
    run.heartbeat()

    assert answers.bodies == [{"status": "processing"}]
