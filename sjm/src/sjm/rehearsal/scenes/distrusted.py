"""What the scenes have in common whose webhook nobody may trust."""

from abc import abstractmethod
from typing import ClassVar

from sjm.rehearsal.execution import Execution
from sjm.rehearsal.judgement import SIGNATURES, rejected
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict


class Distrusted(Scene):
    """A webhook that the receiver must reject. ``fix`` says how, for a receiver that took it."""

    link = SIGNATURES
    needs_secret = True
    for_sync = True
    fix: ClassVar[str]

    @abstractmethod
    def send(self, execution: Execution) -> None:
        """Sends the webhook."""

    def play(self, manager: PlayedManager) -> Seen:
        """Sends it, and looks for work."""
        execution = manager.execution()
        self.send(execution)
        manager.watch(execution)
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants 401 and no work."""
        return rejected(seen, self.about, self.fix)
