"""A notification that comes several times at once."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from sjm.rehearsal.judgement import GOOD_SERVICE, refusal, refused_duplicate, unfinished, worked_twice
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Delivery, Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, passed

_AT_ONCE = 5


class Simultaneous(Scene):
    """Whoever looks whether it has seen an execution, and notes it only later, works more than once."""

    name = "simultaneous"
    about = f"the same notification {_AT_ONCE} times at once"
    link = GOOD_SERVICE

    def play(self, manager: PlayedManager) -> Seen:
        """Sends them from threads, and looks for work."""
        execution = manager.execution()
        bodies = [execution.notification() for _ in range(_AT_ONCE)]
        all_ready = Barrier(_AT_ONCE)

        def deliver(body: Mapping[str, Any]) -> Delivery:
            all_ready.wait()  # a thread takes a moment to start
            return execution.deliver(body)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            deliveries = list(pool.map(deliver, bodies))
        if any(each.is_taken for each in deliveries) and execution.wait_for_result():
            manager.watch(execution)
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants that one of them leads to work. Who is busy with it may ask to be notified later."""
        if not any(each.is_taken for each in seen.deliveries):
            return refusal(seen.deliveries[0])
        wrong = worked_twice(seen) or unfinished(seen, waits)
        for each in seen.deliveries:
            wrong = wrong or refused_duplicate(each, may_be_busy=True)
        return wrong or passed(f"{len(seen.deliveries)} at once, and it worked once")
