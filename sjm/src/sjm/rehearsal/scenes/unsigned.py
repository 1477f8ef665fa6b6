"""A webhook without a signature."""

from sjm.rehearsal.execution import Execution
from sjm.rehearsal.scenes.distrusted import Distrusted


class Unsigned(Distrusted):
    """Anybody who knows the URL can send one."""

    name = "unsigned"
    about = "a webhook without a signature"
    fix = "Reject every webhook without `webhook-signature` with 401, before you look at its body."

    def send(self, execution: Execution) -> None:
        """Sends it."""
        execution.deliver(execution.notification(), keys=[])
