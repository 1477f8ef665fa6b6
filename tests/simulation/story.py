"""What happened in a run, in sentences, in the order of the clock."""

from collections.abc import Callable

from jobmanager.core.clock import iso


class Story:
    """Keeps the lines if it is told; if not, it costs nothing."""

    def __init__(self, is_told: bool = False) -> None:
        self.is_told = is_told
        self.lines: list[str] = []
        self.now_ms: Callable[[], int] = lambda: 0

    def tell(self, who: str, what: str) -> None:
        """Adds a line."""
        if self.is_told:
            at_ms = self.now_ms()
            self.lines.append(f"{iso(at_ms)[11:19]}.{at_ms % 1000:03} {who}: {what}")
