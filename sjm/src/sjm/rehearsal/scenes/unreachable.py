"""A callback API that nobody reaches for a while."""

from sjm.rehearsal.answers import unreachable_for
from sjm.rehearsal.judgement import ANSWERS, repeated
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict


class Unreachable(Scene):
    """Every connection is closed without an answer, until some seconds after the first result."""

    name = "unreachable"
    about = "no answer to callbacks for a while"
    link = ANSWERS

    def play(self, manager: PlayedManager) -> Seen:
        """Runs the job."""
        execution = manager.execution(unreachable_for(manager.waits.gone_seconds))
        execution.run()
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants the result again, when the API is back."""
        return repeated(seen, waits)
