"""A run of a sync job: the answer is the result."""

from sjm.rehearsal.judgement import SYNC_JOBS, answer_of, unread_answer, untaken
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, passed


class SyncAnswer(Scene):
    """The other scenes of a sync job are played only if this one passes."""

    name = "sync-answer"
    about = "a sync job, whose answer is the result"
    link = SYNC_JOBS
    for_async = False
    for_sync = True

    def play(self, manager: PlayedManager) -> Seen:
        """Runs the job."""
        execution = manager.execution()
        execution.run()
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants 2xx within ``ttl_seconds``, with a result that can be read."""
        delivery = seen.deliveries[0]
        slow = f"Answer within ttl_seconds, here {waits.ttl_seconds}, when the job is done."
        if wrong := untaken(delivery, slow if delivery.trouble else ""):
            return wrong
        return unread_answer(delivery) if delivery.body_error else passed(answer_of(delivery))
