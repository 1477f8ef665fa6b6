"""A webhook whose bytes are not those that were signed."""

from sjm.rehearsal.execution import Execution
from sjm.rehearsal.scenes.distrusted import Distrusted


class Altered(Distrusted):
    """The change is a space between two tokens, so the parsed body stays the same."""

    name = "altered"
    about = "a body that was changed after it was signed"
    fix = "Verify the bytes of the body as they came, not JSON that you parsed and wrote again."

    def send(self, execution: Execution) -> None:
        """Sends it."""
        execution.deliver(execution.notification(), alter=with_another_byte)


def with_another_byte(content: bytes) -> bytes:
    """The same JSON, written in another way."""
    return content.replace(b"{", b"{ ", 1)
