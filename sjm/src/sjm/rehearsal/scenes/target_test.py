"""A test notification, which the manager sends before it saves a job."""

from sjm.rehearsal.judgement import BE_NOTIFIED, answer_of, untaken
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, passed


class TargetTest(Scene):
    """It has no ``execution_id``, no ``attempt`` and no ``callback_url``."""

    name = "test"
    about = "a test notification"
    link = BE_NOTIFIED
    for_sync = True

    def play(self, manager: PlayedManager) -> Seen:
        """Sends one."""
        return manager.test()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants 2xx."""
        delivery = seen.deliveries[0]
        fix = "Look at `test` before all other fields: if it is true, answer 2xx, and do nothing."
        return untaken(delivery, "" if delivery.trouble else fix) or passed(answer_of(delivery))
