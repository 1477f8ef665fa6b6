"""A webhook without a signature."""

from sjm.rehearsal.judgement import SIGNATURES, rejected
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict


class Unsigned(Scene):
    """Anybody who knows the URL can send one."""

    name = "unsigned"
    about = "a webhook without a signature"
    link = SIGNATURES
    needs_secret = True
    for_sync = True

    def play(self, manager: PlayedManager) -> Seen:
        """Sends it, and looks for work."""
        execution = manager.execution()
        execution.deliver(execution.notification(), keys=[])
        manager.watch(execution)
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants 401 and no work."""
        return rejected(
            seen,
            "a webhook without a signature",
            "Reject every webhook without `webhook-signature` with 401, before you look at its body.",
        )
