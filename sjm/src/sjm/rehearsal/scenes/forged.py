"""A webhook that somebody else signed."""

from secrets import token_bytes

from sjm.rehearsal.execution import Execution
from sjm.rehearsal.scenes.distrusted import Distrusted


class Forged(Distrusted):
    """Its signature has the right form."""

    name = "forged"
    about = "a signature made with another secret"
    fix = "Compute the signature with your secret, and compare it with hmac.compare_digest or its like."

    def send(self, execution: Execution) -> None:
        """Sends it."""
        execution.deliver(execution.notification(), keys=[token_bytes(32)])
