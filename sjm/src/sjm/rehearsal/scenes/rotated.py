"""A webhook while secrets are rotated: it has a signature for each of them."""

from secrets import token_bytes

from sjm.rehearsal.judgement import SIGNATURES, answer_of, not_worked
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, passed


class Rotated(Scene):
    """The first signature is that of a newer secret, which the receiver does not know yet."""

    name = "rotated"
    about = "two signatures, the second with your secret"
    link = SIGNATURES
    needs_secret = True
    for_sync = True

    def play(self, manager: PlayedManager) -> Seen:
        """Runs the job."""
        execution = manager.execution()
        execution.run(keys=[token_bytes(32), *manager.settings.keys])
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants that one genuine signature is enough."""
        fix = "Split `webhook-signature` at spaces, and accept the webhook if any signature is yours."
        return not_worked(seen, waits, fix) or passed(answer_of(seen.deliveries[0]))
