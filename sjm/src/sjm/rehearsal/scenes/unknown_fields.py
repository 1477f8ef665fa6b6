"""A notification of a later version of the manager."""

from sjm.rehearsal.judgement import BE_NOTIFIED, answer_of, not_worked
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, passed

_UNKNOWN = {"a_later_field": {"nested": [1, None, True]}, "another_later_field": None}


class UnknownFields(Scene):
    """It has fields that nobody knows yet."""

    name = "unknown-fields"
    about = "fields that a later version may add"
    link = BE_NOTIFIED
    for_sync = True

    def play(self, manager: PlayedManager) -> Seen:
        """Runs the job."""
        execution = manager.execution()
        execution.run({**_UNKNOWN, **execution.notification()})
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants that they do not matter."""
        fix = "Ignore the fields of a notification that you do not know."
        return not_worked(seen, waits, fix) or passed(answer_of(seen.deliveries[0]))
