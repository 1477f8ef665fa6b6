"""Many notifications at once, some of them twice."""

import threading
from collections import Counter
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from sjm.receiver import DirectorySeen, MemorySeen, Run
from tests.unit.sjm.receiver.conftest import MakeReceiver
from tests.unit.sjm.receiver.manager import WAIT_SECONDS, Manager, deliver

SENDERS = 6


@pytest.mark.parametrize("seen", ["memory", "directory"])
def test_of_a_thousand_notifications_with_duplicates_each_is_worked_on_once(
    manager: Manager, make_receiver: MakeReceiver, tmp_path: Path, seen: str
) -> None:
    """A third comes twice, and a tenth of all comes twice at the same moment."""
    jobs = make_receiver(
        seen=MemorySeen() if seen == "memory" else DirectorySeen(tmp_path), workers=16, spool=None
    )
    worked: Counter[tuple[str, int]] = Counter()
    lock = threading.Lock()

    @jobs.job("nightly")
    def nightly(run: Run) -> None:
        with lock:
            worked[run.execution_id, run.attempt] += 1

    all_of_them = [manager.notification(attempt=1 + number % 2) for number in range(1000)]
    sent: SimpleQueue[tuple[dict[str, Any], threading.Barrier | None]] = SimpleQueue()
    for number, notification in enumerate(all_of_them):
        if number % 10 == 0:
            together = threading.Barrier(2)
            sent.put((notification, together))
            sent.put((notification, together))
        elif number % 3 == 0:
            sent.put((notification, None))
            sent.put((notification, None))
        else:
            sent.put((notification, None))
    outcomes: Counter[str] = Counter()

    def send() -> None:
        while True:
            try:
                notification, together = sent.get_nowait()
            except Empty:
                return
            if together:
                together.wait(WAIT_SECONDS)
            # As the manager does: what is not answered 2xx is sent again.
            while (answer := deliver(jobs, notification)).status == 503:
                threading.Event().wait(0.005)
            with lock:
                outcomes[answer.outcome] += 1

    senders = [threading.Thread(target=send) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(WAIT_SECONDS)
    manager.wait_for(lambda: jobs.engine.pool.wait_until_idle(0), "the end of the work")

    keys = {(each["execution_id"], each["attempt"]) for each in all_of_them}
    assert worked == Counter(keys)
    assert outcomes["accepted"] == 1000
    assert outcomes["duplicate"] >= 300
    manager.wait_for(lambda: len(manager.results()) >= 1000, "the results")
    assert Counter(each.path for each in manager.callbacks()) == Counter(
        f"/callback/{execution_id}/{attempt}" for execution_id, attempt in keys
    )


def test_a_heartbeat_is_one_request_and_all_runs_share_one_thread(
    manager: Manager, make_receiver: MakeReceiver
) -> None:
    told: SimpleQueue[object] = SimpleQueue()
    jobs = make_receiver(workers=12, on_callback=lambda *call: told.put(call))
    may_end = threading.Event()

    @jobs.job("nightly")
    def nightly(run: Run) -> None:
        for _ in run.track(iter(may_end.is_set, True)):
            threading.Event().wait(0.01)

    before = set(threading.enumerate())
    for _ in range(12):
        assert deliver(jobs, manager.notification(heartbeat_interval_seconds=0.1)).status == 202
    manager.wait_for(lambda: len(manager.callbacks(status="processing")) > 60, "heartbeats")
    ours = sorted(
        thread.name
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith("sjm-")  # the stand-in has threads too
    )
    may_end.set()
    manager.wait_for(lambda: len(manager.results()) == 12, "the results")

    assert ours == sorted(["sjm-heartbeats", *(f"sjm-worker-{number}" for number in range(1, 13))])
    assert jobs.engine.pool.wait_until_idle(WAIT_SECONDS)
    # One heartbeat may be under way still: the manager has it, and its answer is not read yet.
    manager.wait_for(lambda: told.qsize() == len(manager.callbacks()), "the last answer")
