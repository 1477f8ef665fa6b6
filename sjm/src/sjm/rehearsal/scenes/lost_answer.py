"""A notification whose answer the manager did not get, so it sends the notification again."""

from sjm.rehearsal.judgement import (
    BE_NOTIFIED,
    answer_of,
    refusal,
    refused_duplicate,
    unfinished,
    worked_twice,
)
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, passed


class LostAnswer(Scene):
    """The second notification has another ``callback_url``, and the same ``webhook-id``."""

    name = "lost-answer"
    about = "your 202 gets lost, so the notification is repeated"
    link = BE_NOTIFIED

    def play(self, manager: PlayedManager) -> Seen:
        """Hangs up when the answer comes, and sends the notification again."""
        execution = manager.execution()
        if not execution.deliver(execution.notification(), loses_answer=True).trouble:
            execution.deliver(execution.notification())
            if execution.wait_for_result():
                manager.watch(execution)
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants 2xx for the repetition, and work once."""
        if seen.deliveries[0].trouble:
            return refusal(seen.deliveries[0])
        again = seen.deliveries[-1]
        wrong = refused_duplicate(again) or worked_twice(seen) or unfinished(seen, waits)
        return wrong or passed(f"the repetition: {answer_of(again)}, and it worked once")
