"""A notification that comes again when the job is done."""

from sjm.rehearsal.judgement import (
    GOOD_SERVICE,
    answer_of,
    called_after,
    refused_duplicate,
    unfinished,
    untaken,
)
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, passed


class Duplicate(Scene):
    """The same bytes come twice. Whoever forgets an execution when it has ended works again."""

    name = "duplicate"
    about = "the same webhook again, after the result"
    link = GOOD_SERVICE

    def play(self, manager: PlayedManager) -> Seen:
        """Runs the job, sends the webhook again, and looks for work."""
        execution = manager.execution()
        body = execution.notification()
        if execution.run(body):
            manager.watch(execution)
            execution.deliver(body)
            manager.watch(execution)
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants 2xx and no work for the duplicate."""
        if wrong := untaken(seen.deliveries[0]) or unfinished(seen, waits):
            return wrong
        again = seen.deliveries[1]
        wrong = refused_duplicate(again) or called_after(seen, again.at)
        return wrong or passed(f"the duplicate: {answer_of(again)}, and did no work")
