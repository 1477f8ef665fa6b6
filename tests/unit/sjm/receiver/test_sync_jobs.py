"""The answer to the webhook of a sync job is its result."""

import json
import threading
from typing import Any

import pytest

from sjm.receiver import HANDED_OVER, DirectorySeen, Failure, OutOfTime, Run, Success
from sjm.receiver.answer import Answer
from sjm.receiver.sync_answers import SyncAnswers
from tests.unit.sjm.receiver.conftest import MakeReceiver
from tests.unit.sjm.receiver.manager import WAIT_SECONDS, Manager, deliver


def sync(manager: Manager, **more: Any) -> dict[str, Any]:
    return manager.notification(sync=True, **more)


def test_a_success_is_answered_with_what_the_manager_reads(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: Success(state=f"after {run.state}", summary="ß", correlation_id="x"))
    jobs.job("empty")(lambda run: None)
    answer = deliver(jobs, sync(manager))

    assert (answer.status, answer.outcome) == (200, "finished")
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body) == {"state": "after 4711", "summary": "ß"}
    assert deliver(jobs, sync(manager, job_name="empty")).body == b"{}"
    assert manager.callbacks() == []


def test_a_failure_is_no_5xx_because_the_manager_would_repeat_it(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver()

    @jobs.job("raises")
    def raises(run: Run) -> None:
        raise KeyError("ledger")

    jobs.job("returns")(lambda run: Failure("no ledger"))
    raised, returned = (deliver(jobs, sync(manager, job_name=name)) for name in ("raises", "returns"))

    assert (raised.status, json.loads(raised.body)["error"]["name"]) == (422, "KeyError")
    assert (returned.status, json.loads(returned.body)) == (422, {"error": "no ledger"})


def test_a_sync_job_cannot_be_handed_over(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: HANDED_OVER)

    assert deliver(jobs, sync(manager)).status == 422


def test_a_coroutine_is_awaited(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()

    @jobs.job("nightly")
    async def nightly(run: Run) -> str:
        return "awaited"

    assert json.loads(deliver(jobs, sync(manager)).body) == {"summary": "awaited"}


def test_a_repeated_webhook_gets_the_answer_of_the_first(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver()
    began, may_end = threading.Event(), threading.Event()
    worked: list[Run] = []

    @jobs.job("nightly")
    def nightly(run: Run) -> str:
        worked.append(run)
        began.set()
        may_end.wait(WAIT_SECONDS)
        return "done"

    notification = sync(manager, ttl_seconds=60)
    answers: list[Answer] = []
    both = [threading.Thread(target=lambda: answers.append(deliver(jobs, notification))) for _ in range(2)]
    for each in both:
        each.start()
    assert began.wait(WAIT_SECONDS)
    may_end.set()
    for each in both:
        each.join(WAIT_SECONDS)
    answers.append(deliver(jobs, notification))

    assert [json.loads(answer.body) for answer in answers] == [{"summary": "done"}] * 3
    assert len(worked) == 1


def test_a_repeated_webhook_that_waits_too_long_is_repeated_again(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: None)
    notification = sync(manager, ttl_seconds=0.01)
    jobs.engine.sync_answers.of((notification["execution_id"], 1))

    assert deliver(jobs, notification).outcome == "busy"


def test_an_attempt_that_another_process_took_is_no_success(
    manager: Manager, make_receiver: MakeReceiver, tmp_path: Any
) -> None:
    notification = sync(manager)
    DirectorySeen(tmp_path).claim(notification["execution_id"], 1)
    jobs = make_receiver(seen=DirectorySeen(tmp_path))
    jobs.job("nightly")(lambda run: None)
    answer = deliver(jobs, notification)

    assert (answer.status, answer.outcome) == (409, "refused")
    assert "taken before" in json.loads(answer.body)["error"]


def test_what_cannot_be_claimed_or_has_no_place_is_notified_again(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    class Unreachable:
        faults = 1

        def claim(self, *_: Any) -> bool:
            self.faults -= 1
            if self.faults >= 0:
                raise ConnectionError
            return True

        def forget(self, *_: Any) -> None: ...

    jobs = make_receiver(seen=Unreachable(), workers=1)
    jobs.job("nightly")(lambda run: "done")
    notification = sync(manager)

    assert deliver(jobs, notification).outcome == "busy"
    assert jobs.engine.pool.slot()
    assert deliver(jobs, notification).outcome == "busy"
    jobs.engine.pool.release()
    assert deliver(jobs, notification).outcome == "finished"


def test_it_ends_before_the_manager_gives_up(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()
    remaining: list[float | None] = []

    @jobs.job("nightly")
    def nightly(run: Run) -> None:
        remaining.append(run.remaining_seconds)
        with pytest.raises(OutOfTime):
            while True:
                run.progress()

    deliver(jobs, sync(manager, ttl_seconds=0.1))
    assert remaining[0] is not None
    assert remaining[0] < 0.1


def test_answers_are_forgotten_after_a_quarter_of_an_hour() -> None:
    now = 0.0
    answers = SyncAnswers(lambda: now)
    first, is_first = answers.of(("x", 1))
    assert is_first
    now = 899
    assert answers.of(("x", 1)) == (first, False)
    now = 901
    assert answers.of(("x", 1))[1]
