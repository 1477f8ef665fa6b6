"""A webhook that somebody recorded, and sends again."""

from sjm.rehearsal.judgement import SIGNATURES, rejected
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict

_SECONDS = 600


class Stale(Scene):
    """Its signature is genuine, and its timestamp is old."""

    name = "stale"
    about = "a genuine webhook of ten minutes ago"
    link = SIGNATURES
    needs_secret = True
    for_sync = True

    def play(self, manager: PlayedManager) -> Seen:
        """Sends it, and looks for work."""
        execution = manager.execution()
        execution.deliver(execution.notification(), seconds_ago=_SECONDS)
        manager.watch(execution)
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants 401 and no work."""
        return rejected(
            seen,
            "a genuine webhook of ten minutes ago",
            "Reject a webhook whose `webhook-timestamp` differs from your clock by more than five minutes.",
        )
