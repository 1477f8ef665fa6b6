import pytest

from tests.simulation.scheduler import Future, Killed, Scheduler, Stuck


def test_tasks_take_turns_by_the_clock() -> None:
    scheduler, seen = Scheduler(0), list[tuple[str, int]]()

    def work(name: str, ms: int) -> None:
        for _ in range(3):
            scheduler.sleep(ms)
            seen.append((name, scheduler.now_ms))

    scheduler.spawn("a", lambda: work("a", 10))
    scheduler.spawn("b", lambda: work("b", 15))
    scheduler.run()
    assert seen == [("a", 10), ("b", 15), ("a", 20), ("b", 30), ("a", 30), ("b", 45)]


def test_a_wait_ends_with_what_is_awaited_or_with_its_time() -> None:
    scheduler, seen = Scheduler(0), list[tuple[bool, int]]()
    known: Future[str] = Future()

    def wait() -> None:
        for _ in range(3):
            seen.append((scheduler.wait(known, 10), scheduler.now_ms))

    scheduler.spawn("waits", wait)
    scheduler.after(15, lambda: known.set("known"))
    scheduler.run()
    assert seen == [(False, 10), (True, 15), (True, 15)]
    assert known.value == "known"


def test_a_task_that_is_killed_does_nothing_more_not_even_on_its_way_out() -> None:
    scheduler, seen = Scheduler(0), list[str]()

    def work() -> None:
        try:
            scheduler.sleep(10)
            seen.append("worked")
        except Exception:
            seen.append("caught")
        finally:
            seen.append("ends")
            scheduler.sleep(10)
            seen.append("slept")

    task = scheduler.spawn("works", work)
    scheduler.after(5, task.kill)
    scheduler.run()
    assert seen == ["ends"]
    assert task.over.is_done
    assert not issubclass(Killed, Exception)


def test_a_task_that_sleeps_alone_stops_where_the_run_does() -> None:
    scheduler, seen = Scheduler(0), list[int]()

    def work() -> None:
        for _ in range(4):
            scheduler.sleep(10)
            seen.append(scheduler.now_ms)

    scheduler.spawn("works", work)
    scheduler.run(25)
    assert (scheduler.now_ms, seen) == (25, [10, 20])
    scheduler.run()
    assert seen == [10, 20, 30, 40]


def test_a_task_that_sleeps_lets_one_go_on_that_began_to_sleep_before_for_the_same_moment() -> None:
    scheduler, seen = Scheduler(0), list[str]()

    def work(name: str) -> None:
        scheduler.sleep(10 if name == "first" else 4)
        scheduler.sleep(0 if name == "first" else 6)
        seen.append(name)

    scheduler.after(10, lambda: seen.append("due"))
    scheduler.spawn("first", lambda: work("first"))
    scheduler.spawn("second", lambda: work("second"))
    scheduler.run()
    assert seen == ["due", "second", "first"]


def test_a_task_that_sleeps_alone_for_ever_is_stuck() -> None:
    scheduler = Scheduler(0, max_steps=100)

    def work() -> None:
        while True:
            scheduler.sleep(1)

    scheduler.spawn("works", work)
    with pytest.raises(Stuck):
        scheduler.run()
    assert scheduler.steps == 101
