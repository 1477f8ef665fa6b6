"""A webhook whose bytes are not those that were signed."""

from sjm.rehearsal.judgement import SIGNATURES, rejected
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict


class Altered(Scene):
    """The change is a space between two tokens, so the parsed body stays the same."""

    name = "altered"
    about = "a body that was changed after it was signed"
    link = SIGNATURES
    needs_secret = True
    for_sync = True

    def play(self, manager: PlayedManager) -> Seen:
        """Sends it, and looks for work."""
        execution = manager.execution()
        execution.deliver(execution.notification(), alter=with_another_byte)
        manager.watch(execution)
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants 401 and no work."""
        return rejected(
            seen,
            "a body that was changed after it was signed",
            "Verify the bytes of the body as they came, not JSON that you parsed and wrote again.",
        )


def with_another_byte(content: bytes) -> bytes:
    """The same JSON, written in another way."""
    return content.replace(b"{", b"{ ", 1)
