"""A webhook that must be answered before the work is done."""

from sjm.rehearsal.judgement import GOOD_SERVICE, answer_of, unfinished, untaken
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, failed, passed

_FIX = "Answer first, and work afterwards, in a thread, a task or a queue."
_TOLERATED = 0.3


class SlowAnswer(Scene):
    """The manager does not answer the first callbacks until it has the answer to its webhook.

    Whoever works before it answers has to wait, and answers late. So a job that takes no time shows it, too.
    """

    name = "slow-answer"
    about = "an answer before the work, within 10 s"
    link = GOOD_SERVICE

    def play(self, manager: PlayedManager) -> Seen:
        """Holds the callbacks back until the webhook is answered."""
        execution = manager.execution()
        execution.released.clear()
        delivery = execution.deliver(execution.notification())
        execution.released.set()
        if delivery.is_taken:
            execution.wait_for_result()
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants an answer that does not wait for an answer to a callback."""
        delivery = seen.deliveries[0]
        if wrong := untaken(delivery, _FIX if seen.callbacks else ""):
            return wrong
        answered = delivery.at + delivery.seconds
        if seen.callbacks and answered - seen.callbacks[0].at > _TOLERATED * waits.hold_seconds:
            return failed(f"it called back, and {answer_of(delivery)} only when it was done", _FIX)
        return unfinished(seen, waits) or passed(answer_of(delivery))
