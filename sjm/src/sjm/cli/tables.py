"""Tables on a terminal, and in a pipe."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from sjm.cli.printable import printable_line

if TYPE_CHECKING:
    from rich.console import Console

    from sjm.cli.output import Column

_GAP = "  "
_NARROWEST = 8


class Table:
    """Writes row after row in columns, whose widths fit the first rows."""

    def __init__(self, console: "Console", columns: "Sequence[Column]", first: Sequence[Any]) -> None:
        self._console = console
        self._columns = columns
        cells = [[Text(column.title).cell_len for column in columns]]
        cells += [[self._cell(column, row).cell_len for column in columns] for row in first]
        self._widths = [max(widths) for widths in zip(*cells, strict=True)]
        self._shrink()
        self._write([Text(column.title.upper(), style="bold") for column in columns])

    def write(self, row: Any) -> None:
        """Writes a row."""
        self._write([self._cell(column, row) for column in self._columns])

    def _shrink(self) -> None:
        """Takes width from the widest columns that may be cut, until all fit."""
        over = sum(self._widths) + len(_GAP) * (len(self._widths) - 1) - self._console.width
        while over > 0:
            may_shrink = [
                (width, at)
                for at, width in enumerate(self._widths)
                if width > _NARROWEST and not self._columns[at].whole
            ]
            if not may_shrink:
                return
            _, at = max(may_shrink)
            self._widths[at] -= 1
            over -= 1

    def _cell(self, column: "Column", row: Any) -> Text:
        return Text(printable_line(column.text(row)), style=column.style(row) if column.style else "")

    def _write(self, cells: list[Text]) -> None:
        line = Text()
        for at, cell in enumerate(cells):
            is_last = at == len(cells) - 1
            if self._console.is_terminal and not self._columns[at].whole:
                cell.truncate(self._widths[at], overflow="ellipsis")
            line.append_text(cell)
            if not is_last:
                line.append(" " * max(self._widths[at] - cell.cell_len, 0) + _GAP)
        self._console.print(line, soft_wrap=True)
