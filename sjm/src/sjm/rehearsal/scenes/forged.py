"""A webhook that somebody else signed."""

from secrets import token_bytes

from sjm.rehearsal.judgement import SIGNATURES, rejected
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict


class Forged(Scene):
    """Its signature has the right form."""

    name = "forged"
    about = "a signature made with another secret"
    link = SIGNATURES
    needs_secret = True
    for_sync = True

    def play(self, manager: PlayedManager) -> Seen:
        """Sends it, and looks for work."""
        execution = manager.execution()
        execution.deliver(execution.notification(), keys=[token_bytes(32)])
        manager.watch(execution)
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants 401 and no work."""
        return rejected(
            seen,
            "a signature made with another secret",
            "Compute the signature with your secret, and compare it with hmac.compare_digest or its like.",
        )
