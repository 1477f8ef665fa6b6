"""One thread sends the heartbeats of all."""

import threading
import time

import pytest

from sjm.receiver.heartbeats import Heartbeats

WAIT = 60


class Counted:
    """Beats until it is done."""

    def __init__(self, beats: int | None = None, seconds: float = 0.001) -> None:
        self.beats = 0
        self.threads: set[int] = set()
        self.is_done = threading.Event()
        self._most = beats
        self._seconds = seconds

    def beat(self) -> float | None:
        self.beats += 1
        self.threads.add(threading.get_ident())
        if self.beats == self._most:
            self.is_done.set()
            return None
        return self._seconds


def comes_to(heartbeats: Heartbeats, count: int) -> bool:
    """Whether that many are left, soon. The thread takes one out after its last beat."""
    deadline = time.monotonic() + WAIT
    while len(heartbeats) != count and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(heartbeats) == count


def test_a_hundred_beat_in_one_thread_until_they_are_done() -> None:
    heartbeats = Heartbeats()
    all_of_them = [Counted(3) for _ in range(100)]
    before = set(threading.enumerate())
    for each in all_of_them:
        heartbeats.add(each, 0)

    assert [thread.name for thread in set(threading.enumerate()) - before] == ["sjm-heartbeats"]
    assert all(each.is_done.wait(WAIT) for each in all_of_them)
    assert {each.beats for each in all_of_them} == {3}
    assert len({thread for each in all_of_them for thread in each.threads}) == 1


def test_one_that_is_removed_beats_no_more() -> None:
    heartbeats = Heartbeats()
    removed, other = Counted(), Counted(50)
    heartbeats.add(removed, 1000)
    heartbeats.remove(removed)
    heartbeats.remove(removed)
    heartbeats.hurry(removed, 0)
    heartbeats.add(other, 0)

    assert other.is_done.wait(WAIT)
    assert removed.beats == 0


def test_one_that_is_removed_while_it_beats_is_not_scheduled_again() -> None:
    heartbeats = Heartbeats()

    class Removing(Counted):
        def beat(self) -> float:
            self.beats += 1
            heartbeats.remove(self)
            return 0

    removing, other = Removing(), Counted(20)
    heartbeats.add(removing, 0)
    heartbeats.add(other, 0)

    assert other.is_done.wait(WAIT)
    assert removing.beats == 1
    assert comes_to(heartbeats, 0)


def test_one_that_hurries_beats_before_its_time() -> None:
    heartbeats = Heartbeats()
    hurried = Counted(1)
    heartbeats.add(hurried, 1000)
    heartbeats.hurry(hurried, 0)

    assert hurried.is_done.wait(WAIT)


def test_a_fault_in_one_does_not_end_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heartbeats = Heartbeats()

    class Faulty(Counted):
        def beat(self) -> float | None:
            super().beat()
            raise RuntimeError("a fault")

    faulty, other = Faulty(), Counted(5)
    heartbeats.add(faulty, 0)
    heartbeats.add(other, 0.001)

    assert other.is_done.wait(WAIT)
    assert faulty.beats >= 1
    assert "a heartbeat failed" in caplog.text
    assert comes_to(heartbeats, 1)  # the faulty one is tried again in five seconds
    heartbeats.remove(faulty)


def test_the_thread_sleeps_where_nothing_is_due() -> None:
    heartbeats = Heartbeats()
    late = Counted()
    heartbeats.add(late, 3600)
    began = time.thread_time()

    assert late.beats == 0
    assert time.thread_time() - began < 1
