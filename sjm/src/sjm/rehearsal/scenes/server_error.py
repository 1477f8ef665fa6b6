"""A callback API that fails when the result comes."""

from sjm.rehearsal.answers import failing_for_results
from sjm.rehearsal.judgement import ANSWERS, repeated
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict

_TIMES = 2


class ServerError(Scene):
    """The first results get 500."""

    name = "server-error"
    about = "500 to the result, twice"
    link = ANSWERS

    def play(self, manager: PlayedManager) -> Seen:
        """Runs the job."""
        execution = manager.execution(failing_for_results(_TIMES, 500))
        execution.run()
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants the result again, until it is answered."""
        return repeated(seen, waits)
