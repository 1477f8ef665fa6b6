"""From a webhook to its result."""

import itertools
import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sjm.receiver import (
    HANDED_OVER,
    Failure,
    HandedOver,
    MemorySeen,
    OutOfTime,
    Receiver,
    Run,
    Stopped,
    Success,
)
from sjm.receiver.pool import Pool
from tests.unit.sjm.receiver.conftest import MakeReceiver
from tests.unit.sjm.receiver.manager import (
    OTHER_SECRET,
    SECRET,
    WAIT_SECONDS,
    Manager,
    Reply,
    deliver,
    encoded,
    signed,
)


def test_a_job_is_answered_then_worked_on_and_its_result_is_sent(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver()
    may_work = threading.Event()

    @jobs.job("nightly")
    def nightly(run: Run) -> Success:
        assert may_work.wait(WAIT_SECONDS)
        return Success(state=str(int(run.state or 0) + 1), summary="closed the books")

    notification = manager.notification(a_field_of_the_future=[{"x": 1}])
    answer = deliver(jobs, notification)
    assert (answer.status, answer.outcome, answer.body) == (202, "accepted", b'{"outcome": "accepted"}')
    assert answer.headers == {"content-type": "application/json", "content-length": "23"}
    assert manager.results() == []
    may_work.set()

    assert manager.wait_for_result(notification["execution_id"]) == {
        "status": "success",
        "state": "4712",
        "summary": "closed the books",
    }


def handled(manager: Manager, jobs: Receiver, handler: Callable[[Run], Any], **more: Any) -> dict[str, Any]:
    jobs.job("handled")(handler)
    notification = manager.notification("handled", **more)
    assert deliver(jobs, notification).status == 202
    return manager.wait_for_result(notification["execution_id"])


def test_an_exception_is_a_failure_with_type_and_message(
    manager: Manager, make_receiver: MakeReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(_: Run) -> None:
        raise KeyError("ledger")

    result = handled(manager, make_receiver(), handler)

    assert result == {"status": "fail", "error": {"name": "KeyError", "message": "'ledger'"}}
    assert "KeyError" in caplog.text  # with its trace


def test_a_trace_is_told_if_asked_for(manager: Manager, make_receiver: MakeReceiver) -> None:
    def handler(_: Run) -> None:
        raise KeyError("ledger")

    assert "in handler" in handled(manager, make_receiver(trace=True), handler)["error"]["trace"]


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), Stopped("of the handler's own")])
def test_whatever_a_handler_raises_is_a_failure(
    manager: Manager, make_receiver: MakeReceiver, error: BaseException
) -> None:
    def handler(_: Run) -> None:
        raise error

    assert handled(manager, make_receiver(), handler)["status"] == "fail"


def test_a_return_value_that_is_no_result_is_a_failure(manager: Manager, make_receiver: MakeReceiver) -> None:
    assert handled(manager, make_receiver(), lambda run: False)["error"]["name"] == "TypeError"


def test_a_failure_may_be_returned(manager: Manager, make_receiver: MakeReceiver) -> None:
    result = handled(manager, make_receiver(), lambda run: Failure("no ledger", summary="half"))

    assert result == {"status": "fail", "error": "no ledger", "summary": "half"}


def test_a_handler_may_be_a_coroutine(manager: Manager, make_receiver: MakeReceiver) -> None:
    async def handler(run: Run) -> str:
        import asyncio

        await asyncio.sleep(0)
        return f"{run.job_name} in {threading.current_thread().name}"

    assert handled(manager, make_receiver(), handler)["summary"] == "handled in sjm-worker-1"


def test_a_coroutine_for_a_loop_that_is_closed_is_a_failure(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    import asyncio

    jobs = make_receiver()

    @jobs.job("nightly")
    async def nightly(run: Run) -> None:
        """Does nothing."""

    loop = asyncio.new_event_loop()
    loop.close()
    notification = manager.notification()
    content = encoded(notification)
    jobs.receive(content, signed(content), loop=loop)

    assert manager.wait_for_result(notification["execution_id"])["error"]["name"] == "RuntimeError"


def test_callbacks_continue_the_trace(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: run.trace_header)
    notification = manager.notification()
    content = encoded(notification)
    jobs.receive(content, {**signed(content), "X-Amzn-Trace-Id": "Root=1-2-3"})

    assert manager.wait_for_result(notification["execution_id"])["summary"] == "Root=1-2-3"
    assert manager.callbacks()[0].headers["x-amzn-trace-id"] == "Root=1-2-3"


def test_an_unsigned_forged_or_rotated_webhook_is_answered_as_it_deserves(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver(secrets=lambda: [SECRET])
    jobs.job("nightly")(lambda run: None)
    content = encoded(manager.notification())

    unsigned = jobs.receive(content, {"content-type": "application/json"})
    assert (unsigned.status, unsigned.outcome) == (401, "refused")
    assert "not signed" in json.loads(unsigned.body)["error"]
    assert jobs.receive(content, signed(content, OTHER_SECRET)).status == 401
    headers = {name.title(): value for name, value in signed(content, OTHER_SECRET, SECRET).items()}
    assert jobs.receive(content, headers).status == 202


def test_without_secrets_no_webhook_is_taken_unless_it_is_said(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    content = encoded(manager.notification())
    closed = make_receiver(secrets=None)
    closed.job("nightly")(lambda run: None)
    open_to_all = make_receiver(secrets=None, allow_unsigned=True)
    open_to_all.job("nightly")(lambda run: None)

    assert closed.receive(content, {}).status == 403
    assert open_to_all.receive(content, {}).status == 202
    with pytest.raises(TypeError):
        Receiver()  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="allow_unsigned"):
        make_receiver(allow_unsigned=True)


@pytest.mark.parametrize(
    "options", [{"busy_seconds": 0}, {"give_up_seconds": 0}, {"leave_seconds": -1}, {"workers": 0}]
)
def test_options_without_sense_are_refused(make_receiver: MakeReceiver, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        make_receiver(**options)


def test_a_test_notification_is_answered_without_work(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()
    worked: list[Run] = []
    jobs.job("nightly")(worked.append)
    answer = deliver(jobs, {"test": True, "service_name": "billing", "job_name": "nightly"})

    assert (answer.status, answer.outcome) == (200, "tested")
    assert jobs.engine.pool.wait_until_idle(0)
    assert worked == []


def test_an_unknown_job_is_refused_in_words_even_when_it_is_tested(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver()
    for name in ("weekly", "nightly"):
        jobs.job(name)(lambda run: None)

    for notification in (manager.notification("monthly"), {"test": True, "job_name": "monthly"}):
        answer = deliver(jobs, notification)
        assert answer.status == 404
        assert json.loads(answer.body)["error"] == (
            "this service has no job 'monthly'; it has: nightly, weekly"
        )


def test_one_handler_may_take_every_other_job(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: "of its own")
    jobs.job("*")(lambda run: f"any: {run.job_name}")
    results = []
    for name in ("nightly", "weekly"):
        notification = manager.notification(name)
        deliver(jobs, notification)
        results.append(manager.wait_for_result(notification["execution_id"])["summary"])

    assert results == ["of its own", "any: weekly"]
    with pytest.raises(ValueError, match="has a handler already"):
        jobs.job("nightly")(lambda run: None)
    with pytest.raises(ValueError, match="heartbeat"):
        jobs.job("other", heartbeat="never")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "status"), [(b"{", 400), (b"[]", 400), (b"{}", 400), (b" " * (1024 * 1024 + 1), 413)]
)
def test_what_is_no_notification_is_refused(make_receiver: MakeReceiver, content: bytes, status: int) -> None:
    assert make_receiver().receive(content, signed(content)).status == status


def test_a_duplicate_is_answered_2xx_and_a_second_attempt_is_worked_on(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver()
    attempts: list[int] = []
    jobs.job("nightly")(lambda run: attempts.append(run.attempt))
    first = manager.notification()
    second = {**first, "attempt": 2, "callback_url": first["callback_url"][:-1] + "2"}

    outcomes = []
    for each in (first, first, second, second, first):
        outcomes.append(deliver(jobs, each).outcome)
        manager.wait_for(lambda: jobs.engine.pool.wait_until_idle(0), "the work")
    assert outcomes == ["accepted", "duplicate", "accepted", "duplicate", "duplicate"]
    assert attempts == [1, 2]


def test_a_service_that_is_full_asks_to_be_notified_later(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver(workers=1, busy_seconds=7)
    may_end = threading.Event()
    jobs.job("nightly")(lambda run: may_end.wait(WAIT_SECONDS) and None)
    running, other = manager.notification(), manager.notification()

    assert deliver(jobs, running).status == 202
    busy = deliver(jobs, other)
    assert (busy.status, busy.outcome, busy.headers["retry-after"]) == (503, "busy", "7")
    assert deliver(jobs, running).outcome == "duplicate"  # not busy: this one is being worked on
    may_end.set()
    manager.wait_for_result(running["execution_id"])
    manager.wait_for(lambda: deliver(jobs, other).status == 202, "a free worker")
    manager.wait_for_result(other["execution_id"])


class FaultySeen(MemorySeen):
    """Cannot be reached the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.faults = 1

    def claim(self, execution_id: str, attempt: int) -> bool:
        if self.faults:
            self.faults -= 1
            raise ConnectionError("the table cannot be reached")
        return super().claim(execution_id, attempt)


def test_what_cannot_be_claimed_is_notified_again(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver(seen=FaultySeen(), workers=1)
    jobs.job("nightly")(lambda run: None)
    notification = manager.notification()

    assert deliver(jobs, notification).outcome == "busy"
    assert deliver(jobs, notification).outcome == "accepted"


def test_what_cannot_be_written_to_the_spool_is_notified_again(
    manager: Manager, make_receiver: MakeReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_receiver(spool=tmp_path, workers=1)
    jobs.job("nightly")(lambda run: None)
    notification = manager.notification()

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert deliver(jobs, notification).outcome == "busy"
    assert deliver(jobs, notification).outcome == "accepted"


def test_a_result_that_cannot_be_written_to_the_spool_is_sent_nevertheless(
    manager: Manager, make_receiver: MakeReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_receiver(spool=tmp_path)

    @jobs.job("nightly")
    def nightly(run: Run) -> None:
        def full(*_: Any) -> None:
            raise OSError("No space left on device")

        monkeypatch.setattr(os, "fsync", full)

    notification = manager.notification()
    deliver(jobs, notification)

    assert manager.wait_for_result(notification["execution_id"])["status"] == "success"
    manager.wait_for(lambda: not list(tmp_path.iterdir()), "an empty spool")


def test_an_attempt_in_the_spool_is_a_duplicate_after_a_restart(
    manager: Manager, make_receiver: MakeReceiver, tmp_path: Path
) -> None:
    before, after = make_receiver(spool=tmp_path), make_receiver(spool=tmp_path)
    for jobs in (before, after):
        jobs.job("nightly")(lambda run: "done")
    notification = manager.notification()
    manager.always(notification["execution_id"], 503)
    deliver(before, notification)
    manager.wait_for_result(notification["execution_id"])

    assert deliver(after, notification).outcome == "duplicate"
    manager.always(notification["execution_id"], None)


def test_a_thread_that_cannot_start_leaves_the_attempt_to_the_next_notification(
    manager: Manager, make_receiver: MakeReceiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs = make_receiver(workers=1, spool=tmp_path)
    jobs.job("nightly")(lambda run: None)
    notification = manager.notification()

    def no_more_threads(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(Pool, "submit", no_more_threads)
        assert deliver(jobs, notification).outcome == "busy"
    assert list(tmp_path.iterdir()) == []
    assert deliver(jobs, notification).outcome == "accepted"


def test_a_fault_of_the_receiver_gives_its_place_back(
    manager: Manager, make_receiver: MakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_receiver(workers=1)
    jobs.job("nightly")(lambda run: None)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(MemorySeen, "claim", interrupted)
        deliver(jobs, manager.notification())
    assert deliver(jobs, manager.notification()).outcome == "accepted"


def test_a_run_that_was_stopped_sends_no_result(
    manager: Manager, make_receiver: MakeReceiver, tmp_path: Path
) -> None:
    jobs = make_receiver(spool=tmp_path)
    ended = threading.Event()

    @jobs.job("raises")
    def raises(run: Run) -> None:
        try:
            while True:
                run.heartbeat()
        finally:
            ended.set()

    @jobs.job("ignores")
    def ignores(run: Run) -> str:
        try:
            while True:
                run.heartbeat()
        except Stopped:
            ended.set()
        return "done"

    for name in ("raises", "ignores"):
        ended.clear()
        notification = manager.notification(name)
        manager.always(notification["execution_id"], Reply(410, body=b'{"detail": "cancelled"}'))
        deliver(jobs, notification)
        assert ended.wait(WAIT_SECONDS)
        manager.wait_for(lambda: jobs.engine.pool.wait_until_idle(0), "the end of the work")
        assert manager.results(notification["execution_id"]) == []
        assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_handed_over_is_reported_by_somebody_else(
    manager: Manager, make_receiver: MakeReceiver, tmp_path: Path
) -> None:
    jobs = make_receiver(spool=tmp_path)
    handed: list[str] = []

    @jobs.job("nightly")
    def nightly(run: Run) -> HandedOver:
        handed.append(run.notification["callback_url"])
        return HANDED_OVER

    notification = manager.notification(heartbeat_interval_seconds=0.01)
    deliver(jobs, notification)
    manager.wait_for(lambda: jobs.engine.pool.wait_until_idle(0), "the end of the work")

    assert handed == [notification["callback_url"]]
    assert manager.results() == []
    assert list(tmp_path.iterdir()) == []
    assert len(jobs.engine.heartbeats) == 0


def test_a_message_of_a_queue_is_taken_without_a_signature(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver(secrets=None)
    jobs.job("nightly")(lambda run: run.trace_header)
    notification, unknown = manager.notification(), manager.notification("monthly")
    outcomes = [
        jobs.take(message, trace_header="Root=1").outcome
        for message in (
            json.dumps({"Type": "Notification", "Message": json.dumps(notification)}),
            notification,
            {"test": True, "job_name": "nightly"},
            unknown,
            "{",
            manager.notification(sync=True),
        )
    ]

    assert outcomes == ["accepted", "duplicate", "tested", "accepted", "refused", "refused"]
    assert manager.wait_for_result(notification["execution_id"])["summary"] == "Root=1"
    assert manager.wait_for_result(unknown["execution_id"])["error"]["name"] == "UnknownJob"


def test_heartbeats_are_sent_by_themselves_and_stop_the_run_on_410(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver()
    stopped = threading.Event()

    @jobs.job("nightly")
    def nightly(run: Run) -> None:
        try:
            for _ in run.track(iter(int, 1)):  # for ever
                threading.Event().wait(0.001)
        finally:
            stopped.set()

    notification = manager.notification(heartbeat_interval_seconds=0.1)
    manager.always(notification["execution_id"], 410)
    manager.script(notification["execution_id"], 200, 500, 200)
    deliver(jobs, notification)

    assert stopped.wait(WAIT_SECONDS)
    told = [each.status for each in manager.callbacks()]
    assert set(told) == {"processing"}
    assert len(told) >= 4  # more if an answer came too late


def test_a_job_may_have_heartbeats_only_on_progress(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()
    may_end = threading.Event()

    @jobs.job("silent", heartbeat="progress")
    def silent(run: Run) -> None:
        may_end.wait(WAIT_SECONDS)

    @jobs.job("noisy")
    def noisy(run: Run) -> None:
        may_end.wait(WAIT_SECONDS)

    both = [manager.notification(name, heartbeat_interval_seconds=0.02) for name in ("silent", "noisy")]
    for notification in both:
        deliver(jobs, notification)
    manager.wait_for(lambda: len(manager.callbacks(both[1]["execution_id"])) > 5, "heartbeats")
    assert manager.callbacks(both[0]["execution_id"]) == []
    may_end.set()
    manager.wait_for_result(both[0]["execution_id"])


def test_each_callback_is_shown_to_the_service_and_its_faults_harm_nothing(
    manager: Manager, make_receiver: MakeReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[tuple[str, str, int]] = []

    def on_callback(notification: Any, body: Any, answer: Any) -> None:
        shown.append((notification["job_name"], body["status"], answer.status))
        raise RuntimeError("a fault in the metrics")

    jobs = make_receiver(on_callback=on_callback)
    jobs.job("nightly")(lambda run: run.heartbeat(50) and None)
    notification = manager.notification()
    manager.script(notification["execution_id"], 200, 500)
    deliver(jobs, notification)
    manager.wait_for(lambda: len(shown) == 3, "three callbacks")

    assert shown == [
        ("nightly", "processing", 200),
        ("nightly", "success", 500),
        ("nightly", "success", 200),
    ]
    assert "on_callback failed" in caplog.text


def test_the_callback_url_is_never_logged(
    manager: Manager, make_receiver: MakeReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    jobs = make_receiver()

    def handler(run: Run) -> None:
        run.heartbeat()
        raise ValueError

    jobs.job("nightly")(handler)
    for status in (0, 400, 403, 404, 429, 500):
        notification = manager.notification()
        manager.script(notification["execution_id"], status, status)
        deliver(jobs, notification)
        manager.wait_for_result(notification["execution_id"])
    manager.wait_for(lambda: jobs.engine.pool.wait_until_idle(0), "the end")

    assert "attempt 1" in caplog.text
    assert "/callback/" not in caplog.text


# Closing


def test_closing_waits_for_what_runs_and_takes_nothing_more(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver()
    began, may_end = threading.Event(), threading.Event()

    @jobs.job("nightly")
    def nightly(run: Run) -> None:
        began.set()
        may_end.wait(WAIT_SECONDS)

    notification = manager.notification()
    deliver(jobs, notification)
    assert began.wait(WAIT_SECONDS)
    closed: list[bool] = []
    closing = threading.Thread(target=lambda: closed.append(jobs.close(timeout_seconds=WAIT_SECONDS)))
    closing.start()
    manager.wait_for(lambda: jobs.engine.is_closing, "the closing")
    refused = deliver(jobs, manager.notification())
    sync = deliver(jobs, manager.notification(sync=True))
    may_end.set()
    closing.join(WAIT_SECONDS)

    assert (closed, refused.outcome, sync.outcome) == ([True], "busy", "busy")
    assert "shutting down" in json.loads(refused.body)["error"]
    assert manager.results(notification["execution_id"]) == [{"status": "success"}]
    assert jobs.close()


def test_what_does_not_end_in_time_is_told_so(manager: Manager, make_receiver: MakeReceiver) -> None:
    jobs = make_receiver()
    has_begun = threading.Event()

    @jobs.job("saves")
    def saves(run: Run) -> Success:
        done = 0
        try:
            for _ in run.track(itertools.count()):
                threading.Event().wait(0.001)
                done += 1
                has_begun.set()
        except OutOfTime:
            return Success(state=f"at {done > 0}")
        raise AssertionError

    notification = manager.notification("saves")
    deliver(jobs, notification)
    assert has_begun.wait(WAIT_SECONDS)

    assert jobs.close(timeout_seconds=0.01, grace_seconds=WAIT_SECONDS)
    assert manager.wait_for_result(notification["execution_id"]) == {"status": "success", "state": "at True"}


def test_what_does_not_end_at_all_is_abandoned(
    manager: Manager, make_receiver: MakeReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    may_end = threading.Event()
    with make_receiver() as jobs:
        jobs.job("nightly")(lambda run: may_end.wait(WAIT_SECONDS) and None)
        notification = manager.notification()
        deliver(jobs, notification)

        assert not jobs.close(timeout_seconds=0, grace_seconds=0)
    assert f"{notification['execution_id']} attempt 1: is abandoned" in caplog.text
    may_end.set()


def test_a_run_that_begins_while_the_service_closes_is_out_of_time(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: run.progress(1))

    class Closing(MemorySeen):
        def claim(self, execution_id: str, attempt: int) -> bool:
            jobs.engine.is_closing = True
            return super().claim(execution_id, attempt)

    jobs.engine._seen = Closing()
    notification = manager.notification()
    deliver(jobs, notification)

    assert manager.wait_for_result(notification["execution_id"])["error"]["name"].endswith("OutOfTime")


def test_a_forked_process_works_with_threads_of_its_own(
    manager: Manager, make_receiver: MakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As gunicorn does with preload_app. Only the process's number is another one here: no thread is lost."""
    jobs = make_receiver()
    jobs.job("nightly")(lambda run: None)
    before = jobs.engine
    monkeypatch.setattr(os, "getpid", lambda: 4711)
    assert jobs.close()  # the other process's work is not ours to wait for
    notification = manager.notification()
    deliver(jobs, notification)

    manager.wait_for_result(notification["execution_id"])
    assert jobs.engine is not before
    assert deliver(jobs, notification).outcome == "duplicate"
    assert jobs.close()


def test_whatever_goes_wrong_with_a_result_the_run_ends_and_fails(
    manager: Manager, make_receiver: MakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise MemoryError

    jobs = make_receiver()
    monkeypatch.setattr("sjm.receiver.engine.perform", broken)
    result = handled(manager, jobs, lambda run: None)

    assert (result["status"], result["error"]["name"]) == ("fail", "MemoryError")
    assert jobs.engine.pool.wait_until_idle(WAIT_SECONDS)
    assert len(jobs.engine.heartbeats) == 0


def test_without_a_thread_for_heartbeats_the_attempt_fails_and_the_next_one_has_them(
    manager: Manager, make_receiver: MakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def no_more(thread: threading.Thread) -> None:
        if thread.name == "sjm-heartbeats":
            raise RuntimeError("can't start new thread")
        start(thread)

    jobs = make_receiver()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        assert handled(manager, jobs, lambda run: None)["error"]["name"] == "RuntimeError"
    beats = threading.Event()

    @jobs.job("waits")
    def waits(run: Run) -> None:
        assert beats.wait(WAIT_SECONDS)

    second = manager.notification("waits", heartbeat_interval_seconds=0.01)
    assert deliver(jobs, second).status == 202
    manager.wait_for(lambda: manager.callbacks(second["execution_id"], "processing"), "a heartbeat")
    beats.set()
    assert manager.wait_for_result(second["execution_id"])["status"] == "success"


def test_no_work_is_taken_once_the_close_has_begun(
    manager: Manager, make_receiver: MakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_receiver()
    jobs.job("*")(lambda run: None)
    slot = jobs.engine.pool.slot

    def closed_meanwhile(wait_seconds: float = 0) -> bool:
        assert jobs.close(timeout_seconds=0, grace_seconds=0)
        return slot(wait_seconds)

    monkeypatch.setattr(jobs.engine.pool, "slot", closed_meanwhile)
    assert deliver(jobs, manager.notification()).status == 503
    assert jobs.engine.pool.free == jobs.workers


def test_a_second_close_does_not_say_that_all_has_ended(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    jobs = make_receiver()
    goes_on = threading.Event()
    jobs.job("*")(lambda run: goes_on.wait(WAIT_SECONDS) and None)
    assert deliver(jobs, manager.notification()).status == 202
    try:
        assert not jobs.close(timeout_seconds=0, grace_seconds=0)
        assert not jobs.close(timeout_seconds=0, grace_seconds=0)
    finally:
        goes_on.set()
