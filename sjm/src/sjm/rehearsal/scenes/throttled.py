"""A callback API that is busy when the result comes."""

from sjm.rehearsal.answers import failing_for_results
from sjm.rehearsal.judgement import ANSWERS, repeated, span
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, failed

_RETRY_AFTER_SECONDS = 1
# Timers may fire a little early: those of Node by a millisecond.
_TOLERATED = 0.05


class Throttled(Scene):
    """The first result gets 429 with Retry-After."""

    name = "throttled"
    about = f"429 with Retry-After: {_RETRY_AFTER_SECONDS} to the result"
    link = ANSWERS

    def play(self, manager: PlayedManager) -> Seen:
        """Runs the job."""
        execution = manager.execution(failing_for_results(1, 429, _RETRY_AFTER_SECONDS))
        execution.run()
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants the result again, and not too early."""
        results = seen.results
        pause = results[1].at - results[0].answered_at if len(results) > 1 else _RETRY_AFTER_SECONDS
        if pause < _RETRY_AFTER_SECONDS - _TOLERATED:
            return failed(
                f"the result came again after {span(pause)}, and Retry-After was {_RETRY_AFTER_SECONDS}",
                "Wait as many seconds as Retry-After says before you repeat a callback, or a second.",
            )
        return repeated(seen, waits)
