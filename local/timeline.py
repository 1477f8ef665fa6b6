"""The output of the demo: a line with a time for each event, and tables."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence

_COLOURS = {"green": "32", "red": "31", "yellow": "33", "blue": "34", "cyan": "36", "bold": "1", "dim": "2"}
_COLOUR_OF_KIND = {
    "success": "green",
    "checked": "green",
    "fail": "red",
    "skipped": "yellow",
    "refused": "yellow",
    "tick": "bold",
    "notified": "cyan",
    "heartbeat": "blue",
    "measured": "green",
    "waiting": "dim",
}
_KIND_WIDTH = max(len(kind) for kind in _COLOUR_OF_KIND)


class Timeline:
    """Prints whole lines from any thread. Uses colour only on a terminal."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._last_line = self._started
        self._lock = threading.Lock()
        self._in_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def __call__(self, kind: str, text: str) -> None:
        """Print an event with the time since the start."""
        with self._lock:
            self._last_line = time.monotonic()
            clock = self._colour(_clock(self._last_line - self._started), "dim")
            print(
                f"{clock}  {self._colour(kind.ljust(_KIND_WIDTH), _COLOUR_OF_KIND.get(kind))}  {text}",
                flush=True,
            )

    def heading(self, text: str) -> None:
        """Print the heading of the next scene."""
        with self._lock:
            print(f"\n{self._colour(text, 'bold')}", flush=True)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows under a header, in columns of fitting width."""
        widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
        for number, row in enumerate([header, *rows]):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            print(self._colour(line, None if number else "bold"), flush=True)

    @property
    def quiet_seconds(self) -> float:
        """The time since the last line."""
        with self._lock:
            return time.monotonic() - self._last_line

    def _colour(self, text: str, colour: str | None) -> str:
        if not (self._in_colour and colour):
            return text
        return f"\033[{_COLOURS[colour]}m{text}\033[0m"


def _clock(seconds: float) -> str:
    return f"+{int(seconds // 60):02d}:{seconds % 60:04.1f}"
