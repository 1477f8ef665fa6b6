"""A result is repeated until it is answered."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sjm.receiver.callbacks import Callbacks
from sjm.receiver.results import Pending, Results
from sjm.receiver.spool import Entry, Spool
from tests.unit.sjm.receiver.manager import WAIT_SECONDS, Manager, Reply

SUCCESS = {"status": "success", "state": "4712"}

type MakeResults = Callable[..., Results]


@pytest.fixture
def make_results(manager: Manager) -> Iterator[MakeResults]:
    """Makes senders of results. They end with the test, because another test may get the manager's port."""
    made: list[Results] = []

    def make(spool: Spool | None, **options: Any) -> Results:
        made.append(Results(spool, **options))
        return made[-1]

    yield make
    for results in made:
        results.close()


def pending(
    manager: Manager, entry: Entry | None = None, *, body: Any = None, give_up_after: float = 3600
) -> Pending:
    callbacks = Callbacks(f"{manager.url}/callback/x/1", "nightly x attempt 1")
    return Pending(callbacks, dict(body or SUCCESS), time.time() + give_up_after, 0.01, entry)


def document(manager: Manager, **more: Any) -> dict[str, Any]:
    return {
        "name": "nightly x attempt 1",
        "callback_url": f"{manager.url}/callback/x/1",
        "trace_header": "Root=1",
        "max_wait_seconds": 0.01,
        "body": None,
        **more,
    }


@pytest.mark.parametrize("replies", [[], [500], [0, 429, 503, 302, 408], [500] * 20])
def test_it_is_repeated_unchanged_until_it_is_answered(
    manager: Manager, make_results: MakeResults, replies: list[int]
) -> None:
    manager.script("x", *replies)
    result = pending(manager)
    results = make_results(None)
    results.deliver(result)

    assert result.is_answered.wait(WAIT_SECONDS)
    assert manager.results() == [SUCCESS] * (len(replies) + 1)
    assert result.answer is not None
    assert result.answer.status == 200
    assert results.wait_until_none_can_be_lost(WAIT_SECONDS)


def test_it_waits_as_long_as_the_answer_asks(manager: Manager, make_results: MakeResults) -> None:
    manager.script("x", Reply(429, {"Retry-After": "1"}))
    result = pending(manager)
    make_results(None).deliver(result)

    assert result.is_answered.wait(WAIT_SECONDS)
    first, second = manager.callbacks("x")
    assert second.at - first.at >= 1


def test_waits_grow_and_differ_so_that_services_do_not_return_together(
    manager: Manager, make_results: MakeResults
) -> None:
    results = make_results(None)
    from sjm.receiver.callback import CallbackAnswer

    waits = [[results._wait_after(tries, CallbackAnswer(0), 60) for _ in range(50)] for tries in (1, 4, 40)]
    for found, most in zip(waits, (1, 8, 60), strict=True):
        assert all(most / 2 <= wait <= most for wait in found)
        assert len(set(found)) > 10
    asked = results._wait_after(1, CallbackAnswer(429, retry_after_seconds=1e6), 60)
    assert 3600 < asked <= 3601


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_ends_it(
    manager: Manager, make_results: MakeResults, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    manager.script("x", status)
    result = pending(manager)
    make_results(None).deliver(result)

    assert result.is_answered.is_set()
    assert len(manager.results()) == 1
    assert f"HTTP {status}" in caplog.text


@pytest.mark.parametrize("with_spool", [False, True])
def test_a_success_whose_body_is_refused_becomes_a_failure(
    manager: Manager, make_results: MakeResults, tmp_path: Path, with_spool: bool
) -> None:
    entry = Spool(tmp_path).begin("x", 1, document(manager)) if with_spool else None
    manager.script("x", Reply(400, body=b'{"detail": "1 field is not as expected", "errors": ["/state"]}'))
    result = pending(manager, entry)
    make_results(None).deliver(result)

    assert result.is_answered.wait(WAIT_SECONDS)
    first, second = manager.results()
    assert (first, second["status"], second["error"]["name"]) == (SUCCESS, "fail", "ResultRefused")
    assert "/state" in second["error"]["message"]
    assert list(tmp_path.iterdir()) == []


def test_a_failure_whose_body_is_refused_ends(manager: Manager, make_results: MakeResults) -> None:
    manager.script("x", 400)
    result = pending(manager, body={"status": "fail", "error": "x"})
    make_results(None).deliver(result)

    assert result.is_answered.is_set()
    assert len(manager.results()) == 1


def test_it_is_given_up_in_the_end(
    manager: Manager, make_results: MakeResults, caplog: pytest.LogCaptureFixture
) -> None:
    manager.always("x", 503)
    result = pending(manager, give_up_after=-1)
    make_results(None).deliver(result)

    assert result.is_answered.is_set()
    assert "gives up its result: HTTP 503" in caplog.text


def test_what_a_process_left_behind_is_sent(
    manager: Manager, make_results: MakeResults, tmp_path: Path
) -> None:
    spool = Spool(tmp_path)
    spool.begin("x", 1, document(manager, body=SUCCESS, give_up_at=time.time() + 60)).let_go()
    manager.script("x", 500)
    results = make_results(spool, backoff_seconds=0.01)
    results.start()
    results.start()

    manager.wait_for(lambda: not list(tmp_path.iterdir()), "an empty spool")
    assert manager.results() == [SUCCESS, SUCCESS]
    assert manager.callbacks()[0].headers["x-amzn-trace-id"] == "Root=1"


def test_work_that_was_interrupted_is_a_failure_and_never_a_success(
    manager: Manager, make_results: MakeResults, tmp_path: Path
) -> None:
    spool = Spool(tmp_path)
    spool.begin("x", 1, document(manager)).let_go()
    results = make_results(spool)
    results.start()

    assert manager.wait_for_result("x")["error"]["name"] == "Interrupted"
    manager.wait_for(lambda: not list(tmp_path.iterdir()), "an empty spool")
    assert len(manager.results()) == 1


def test_what_dies_later_is_found_by_the_next_scan(
    manager: Manager, make_results: MakeResults, tmp_path: Path
) -> None:
    results = make_results(Spool(tmp_path), scan_seconds=0.01)
    results.start()
    other = Spool(tmp_path).begin("x", 1, document(manager))
    time.sleep(0.05)
    assert manager.results() == []
    other.let_go()

    assert manager.wait_for_result("x")["status"] == "fail"


def test_a_file_that_cannot_be_sent_does_not_hold_up_others(
    manager: Manager, make_results: MakeResults, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path)
    spool.begin("0", 1, {"name": "no URL", "body": SUCCESS}).let_go()
    spool.begin("x", 1, document(manager, body=SUCCESS, give_up_at=0)).let_go()
    results = make_results(spool)
    results.start()

    manager.wait_for_result("x")
    manager.wait_for(lambda: len(list(tmp_path.iterdir())) == 1, "the other file to go")
    assert "a file in the spool cannot be sent" in caplog.text


def test_a_fault_does_not_end_the_thread(
    manager: Manager,
    make_results: MakeResults,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    faults = [True, True]

    class Faulty(Spool):
        def left_behind(self) -> Any:
            if faults:
                faults.pop()
                raise OSError("the disk is gone")
            return super().left_behind()

    spool = Faulty(tmp_path)
    spool.begin("x", 1, document(manager)).let_go()
    results = make_results(spool, scan_seconds=0.01)
    results.start()

    manager.wait_for_result("x")
    assert "the spool cannot be read" in caplog.text


@pytest.mark.parametrize("faulty_try", [1, 2])
def test_a_sending_that_fails_is_repeated_later(
    manager: Manager, make_results: MakeResults, caplog: pytest.LogCaptureFixture, faulty_try: int
) -> None:
    class Faulty(Callbacks):
        tries = 0

        def post(self, *arguments: Any) -> Any:
            self.tries += 1
            if self.tries == faulty_try:
                raise RuntimeError("a fault")
            return super().post(*arguments)

    manager.script("x", 500)
    callbacks = Faulty(f"{manager.url}/callback/x/1", "nightly")
    results = make_results(None, backoff_seconds=0.01)
    results.repeat_after_fault_seconds = 0.01
    result = Pending(callbacks, SUCCESS, time.time() + 60, 0.01)
    results.deliver(result)

    assert result.is_answered.wait(WAIT_SECONDS)
    assert "could not be sent" in caplog.text


def test_a_file_that_cannot_be_removed_is_logged(
    manager: Manager,
    make_results: MakeResults,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    entry = Spool(tmp_path).begin("x", 1, document(manager))

    def read_only(_: Entry) -> None:
        raise OSError("read-only")

    monkeypatch.setattr(Entry, "remove", read_only)
    result = pending(manager, entry)
    make_results(None).deliver(result)

    assert result.is_answered.is_set()
    assert "stays in the spool" in caplog.text


def test_after_it_is_closed_nothing_is_repeated_and_what_is_lost_is_said(
    manager: Manager, make_results: MakeResults, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager.always("x", 503)
    results = make_results(None, backoff_seconds=0.01)
    spooled = pending(manager, Spool(tmp_path).begin("x", 1, document(manager)))
    results.deliver(spooled)
    assert results.wait_until_none_can_be_lost(0)
    results.deliver(pending(manager))

    assert not results.wait_until_none_can_be_lost(0.01)
    results.close()
    assert caplog.text.count("its result is lost") == 1
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_bytes())["callback_url"].endswith("/x/1")
    closed = make_results(None)
    closed.close()
    closed.deliver(pending(manager))
    assert closed._thread is None


def test_a_refused_success_becomes_a_failure_even_if_the_disk_is_full(
    manager: Manager, make_results: MakeResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Spool(tmp_path).begin("x", 1, document(manager, body=SUCCESS))
    manager.script("x", 400)
    monkeypatch.setattr(os, "fsync", _full)
    result = pending(manager, entry)
    make_results(None).deliver(result)

    assert result.is_answered.wait(WAIT_SECONDS)
    assert [each["status"] for each in manager.results()] == ["success", "fail"]


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_fault_while_it_is_sent_the_first_time_does_not_lose_it(
    manager: Manager, make_results: MakeResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, results = pending(manager), make_results(None)
    results.repeat_after_fault_seconds = 0.01
    post = result.callbacks.post
    faults = [MemoryError]

    def failing(self: Callbacks, *arguments: Any) -> Any:
        if faults:
            raise faults.pop()
        return post(*arguments)

    monkeypatch.setattr(Callbacks, "post", failing)
    results.deliver(result)

    assert result.is_answered.wait(WAIT_SECONDS)
    assert manager.results() == [SUCCESS]


def test_without_a_thread_a_result_waits_for_the_next_one(
    manager: Manager, make_results: MakeResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    manager.script("x", 500)
    first, results = pending(manager), make_results(None, backoff_seconds=0.01)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        results.deliver(first)
    manager.script("x", 500)
    results.deliver(pending(manager))

    assert first.is_answered.wait(WAIT_SECONDS)


def test_a_result_that_is_not_in_the_spool_can_be_lost(
    manager: Manager, make_results: MakeResults, tmp_path: Path
) -> None:
    entry = Spool(tmp_path).begin("x", 1, document(manager))
    manager.always("x", 503)
    result = pending(manager, entry)
    result.is_kept = False
    results = make_results(None, backoff_seconds=60)
    results.deliver(result)

    assert not results.wait_until_none_can_be_lost(0)


def test_what_was_left_behind_needs_few_open_files_at_a_time(
    manager: Manager, make_results: MakeResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sjm.receiver.results._MAX_HELD", 3)
    spool = Spool(tmp_path)
    for number in range(10):
        kept = document(manager, body=SUCCESS, give_up_at=time.time() + 600)
        kept["callback_url"] = f"{manager.url}/callback/{number}/1"
        spool.begin(str(number), 1, kept).let_go()
        manager.always(str(number), 503)
    results = make_results(spool, backoff_seconds=0.01, scan_seconds=0.05)
    results.start()

    manager.wait_for(lambda: len(manager.callbacks()) > 20, "results that are repeated")
    assert len({each.path for each in manager.callbacks()}) == len(results._unanswered) == 3
    for number in range(10):
        manager.always(str(number), None)
    manager.wait_for(lambda: not list(tmp_path.iterdir()), "an empty spool")


def test_results_beyond_that_wait_in_the_spool(
    manager: Manager, make_results: MakeResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sjm.receiver.results._MAX_HELD", 3)
    spool = Spool(tmp_path)
    results = make_results(spool, backoff_seconds=0.01, scan_seconds=0.05)
    for number in range(10):
        manager.always(str(number), 503)
        kept = document(manager, body=SUCCESS, give_up_at=time.time() + 600)
        kept["callback_url"] = f"{manager.url}/callback/{number}/1"
        callbacks = Callbacks(kept["callback_url"], "nightly")
        results.deliver(
            Pending(callbacks, SUCCESS, time.time() + 600, 0.01, spool.begin(str(number), 1, kept))
        )

    assert len(results._unanswered) == 3
    assert len(list(tmp_path.iterdir())) == 10
    for number in range(10):
        manager.always(str(number), None)
    manager.wait_for(lambda: not list(tmp_path.iterdir()), "an empty spool")
    assert len({each.path for each in manager.callbacks()}) == 10
