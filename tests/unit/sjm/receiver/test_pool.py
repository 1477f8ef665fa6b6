"""At most so many work at once, and threads are used again."""

import threading

import pytest

from sjm.receiver.pool import Pool

WAIT = 60


def test_work_is_refused_where_all_places_are_taken() -> None:
    pool = Pool(2)

    assert [pool.slot(), pool.slot(), pool.slot()] == [True, True, False]
    pool.release()
    assert pool.slot(0.01)
    assert not pool.slot(0.01)
    with pytest.raises(ValueError, match="at least 1"):
        Pool(0)


def test_threads_are_used_again_and_never_more_than_places() -> None:
    pool = Pool(3)
    names: set[str] = set()

    for _ in range(200):
        assert pool.slot(WAIT)
        pool.submit(lambda: names.add(threading.current_thread().name))
    assert pool.wait_until_idle(WAIT)

    assert names <= {"sjm-worker-1", "sjm-worker-2", "sjm-worker-3"}


def meet(barrier: threading.Barrier) -> None:
    barrier.wait(WAIT)


def test_all_places_work_at_once() -> None:
    pool = Pool(3)
    barrier = threading.Barrier(4)
    for _ in range(3):
        assert pool.slot()
        pool.submit(lambda: meet(barrier))

    assert not pool.wait_until_idle(0.01)
    barrier.wait(WAIT)
    assert pool.wait_until_idle(WAIT)


def test_a_thread_survives_what_its_work_raises(caplog: pytest.LogCaptureFixture) -> None:
    pool = Pool(1)
    done = threading.Event()

    def fail() -> None:
        raise SystemExit

    assert pool.slot()
    pool.submit(fail)
    assert pool.slot(WAIT)
    pool.submit(done.set)

    assert done.wait(WAIT)
    assert "the receiver failed" in caplog.text


def test_a_thread_that_cannot_start_leaves_no_work_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(1)
    done: list[str] = []

    def no_more_threads(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    assert pool.slot()
    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(threading.Thread, "start", no_more_threads)
        pool.submit(lambda: done.append("first"))
    pool.submit(lambda: done.append("second"))

    assert pool.wait_until_idle(WAIT)
    assert done == ["second"]
