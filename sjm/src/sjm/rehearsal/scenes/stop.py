"""An execution that is over, or has lost its lock, while the receiver works."""

from sjm.rehearsal.answers import always_gone
from sjm.rehearsal.judgement import ANSWERS, counted, no_result, untaken
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, failed, passed

# A heartbeat of another thread may be on its way when the 410 comes.
_ON_THEIR_WAY = 1


class Stop(Scene):
    """From the first callback on, the answer is 410."""

    name = "stop"
    about = "410 in the middle of the work"
    link = ANSWERS

    def play(self, manager: PlayedManager) -> Seen:
        """Answers 410, and looks for further callbacks."""
        long = manager.settings.long_payload
        execution = manager.execution(always_gone, long)
        if execution.deliver(execution.notification()).is_taken and execution.wait_for_callback():
            manager.watch(execution, is_long=long is not None)
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants silence after 410."""
        if wrong := untaken(seen.deliveries[0]):
            return wrong
        if not seen.callbacks:
            return no_result(seen, waits)
        after = seen.callbacks[1:]
        results = [each for each in after if each.is_result]
        if results or len(after) > _ON_THEIR_WAY:
            return failed(
                f"{counted(len(after), 'callback')} after 410",
                "Stop working and calling back when a callback gets 410, also when a result does: the"
                " execution is over, or another one holds the lock.",
            )
        what = "the result" if seen.callbacks[0].is_result else "a heartbeat"
        return passed(f"{what} got 410, and nothing followed")
