"""A webhook that somebody recorded, and sends again."""

from sjm.rehearsal.execution import Execution
from sjm.rehearsal.scenes.distrusted import Distrusted

_SECONDS = 600


class Stale(Distrusted):
    """Its signature is genuine, and its timestamp is old."""

    name = "stale"
    about = "a genuine webhook of ten minutes ago"
    fix = "Reject a webhook whose `webhook-timestamp` differs from your clock by more than five minutes."

    def send(self, execution: Execution) -> None:
        """Sends it."""
        execution.deliver(execution.notification(), seconds_ago=_SECONDS)
