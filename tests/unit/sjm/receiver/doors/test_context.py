"""The door of everything else: a ``with`` statement."""

import contextlib
import json
import threading
import time
from typing import Any

import pytest

from sjm.receiver import (
    HANDED_OVER,
    Duplicate,
    Failure,
    NothingToDo,
    OutOfTime,
    Receiver,
    Refused,
    ResultNotDelivered,
    Stopped,
    Success,
    TestNotification,
)
from tests.unit.sjm.receiver.conftest import MakeReceiver
from tests.unit.sjm.receiver.manager import WAIT_SECONDS, Manager, encoded, signed


@pytest.fixture
def jobs(make_receiver: MakeReceiver) -> Receiver:
    return make_receiver()


def test_its_body_is_the_handler(manager: Manager, jobs: Receiver) -> None:
    with jobs.run(manager.notification()):
        pass
    with jobs.run(json.dumps(manager.notification()), trace_header="Root=1") as run:
        run.result = Success(state=f"{run.state}+", summary=run.trace_header)
    with jobs.run({"Type": "Notification", "Message": json.dumps(manager.notification())}) as run:
        run.result = Failure("no ledger")

    assert manager.results() == [
        {"status": "success"},
        {"status": "success", "state": "4711+", "summary": "Root=1"},
        {"status": "fail", "error": "no ledger"},
    ]


def test_an_exception_is_a_failure_and_passes_on(manager: Manager, jobs: Receiver) -> None:
    with pytest.raises(KeyError), jobs.run(manager.notification()):
        raise KeyError("ledger")

    assert manager.results()[0]["error"]["name"] == "KeyError"


def test_a_webhook_is_verified(manager: Manager, jobs: Receiver) -> None:
    content = encoded(manager.notification())
    with jobs.run(content, signed(content)):
        pass
    with pytest.raises(Refused, match="not signed"), jobs.run(content, {}):
        pass
    with pytest.raises(TypeError, match="bytes"), jobs.run(content.decode(), signed(content)):
        pass

    assert len(manager.results()) == 1


def test_a_run_that_is_handed_over_sends_nothing(manager: Manager, jobs: Receiver) -> None:
    with jobs.run(manager.notification()) as run:
        run.result = HANDED_OVER

    assert manager.callbacks() == []


def test_there_is_nothing_to_do_for_a_duplicate_and_a_test(manager: Manager, jobs: Receiver) -> None:
    notification: dict[str, Any] = manager.notification()
    with jobs.run(notification), pytest.raises(Duplicate), jobs.run(notification):
        pass
    with pytest.raises(Duplicate), jobs.run(notification):
        pass
    with pytest.raises(TestNotification), jobs.run({"test": True, "job_name": "nightly"}):
        pass
    done = []
    for _ in range(2):
        with contextlib.suppress(NothingToDo), jobs.run(notification):
            done.append(1)

    assert done == []
    assert len(manager.results()) == 1


def test_a_sync_job_has_no_callbacks_to_send(manager: Manager, jobs: Receiver) -> None:
    with pytest.raises(Refused, match="use receive"), jobs.run(manager.notification(sync=True)):
        pass


def test_a_run_that_is_stopped_leaves_the_body_and_goes_on_behind_it(
    manager: Manager, jobs: Receiver
) -> None:
    notification = manager.notification()
    manager.script(notification["execution_id"], 410)
    done = []
    with jobs.run(notification) as run:
        run.heartbeat()
        done.append("worked on")

    assert done == []
    assert manager.results() == []
    other = manager.notification()
    manager.script(other["execution_id"], 410)
    with pytest.raises(KeyError), jobs.run(other) as run:
        with contextlib.suppress(Stopped):
            run.heartbeat()
        raise KeyError
    assert manager.results() == []


def test_a_result_that_nobody_answers_is_not_taken_for_told(
    manager: Manager, jobs: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sjm.receiver.doors.context.MIN_WAIT_SECONDS", 0.05)
    notification = manager.notification(ttl_seconds=0.05)
    manager.always(notification["execution_id"], 503)
    with pytest.raises(ResultNotDelivered, match="nightly"), jobs.run(notification):
        pass
    manager.always(notification["execution_id"], None)

    manager.wait_for(lambda: not jobs.engine.results._unanswered, "the answer")  # it goes on


@pytest.mark.parametrize("status", [503, 403])
def test_a_result_that_is_given_up_or_refused_is_not_taken_for_told(
    manager: Manager, make_receiver: MakeReceiver, status: int
) -> None:
    jobs = make_receiver(give_up_seconds=0.001)
    notification = manager.notification()
    manager.always(notification["execution_id"], status)

    with pytest.raises(ResultNotDelivered, match=f"HTTP {status}"), jobs.run(notification):
        pass


def test_a_success_that_is_refused_is_not_taken_for_told(manager: Manager, jobs: Receiver) -> None:
    notification = manager.notification()
    manager.script(notification["execution_id"], 400)

    with pytest.raises(ResultNotDelivered, match="HTTP 400"), jobs.run(notification):
        pass
    assert [each["status"] for each in manager.results()] == ["success", "fail"]


def test_nobody_waits_for_a_result_that_is_answered_410(manager: Manager, jobs: Receiver) -> None:
    notification = manager.notification()
    manager.script(notification["execution_id"], 410)
    with jobs.run(notification):
        pass

    assert len(manager.results()) == 1


def test_a_close_waits_for_the_body_in_another_thread_and_tells_it_to_end(
    manager: Manager, jobs: Receiver
) -> None:
    notification, began = manager.notification(), threading.Event()

    def work() -> None:
        with contextlib.suppress(OutOfTime), jobs.run(notification) as run:
            began.set()
            while True:
                time.sleep(0.01)
                run.check()

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    assert began.wait(WAIT_SECONDS)

    assert jobs.close(timeout_seconds=0.05, grace_seconds=WAIT_SECONDS)
    assert manager.results()[0]["error"]["name"] == "sjm.receiver.errors.OutOfTime"
    worker.join(WAIT_SECONDS)


def test_a_close_in_the_body_does_not_wait_for_itself(manager: Manager, jobs: Receiver) -> None:
    with pytest.raises(OutOfTime), jobs.run(manager.notification()) as run:
        assert not jobs.close(timeout_seconds=WAIT_SECONDS, grace_seconds=WAIT_SECONDS)
        run.check()

    assert len(manager.results()) == 1
