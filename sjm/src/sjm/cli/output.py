"""What ``sjm`` writes: results on stdout, as tables or as JSON; messages on stderr."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal, TextIO

from sjm.cli.exits import ExitCode
from sjm.cli.failures import Failure
from sjm.cli.printable import printable, printable_line

if TYPE_CHECKING:
    from rich.console import Console

Format = Literal["table", "json", "jsonl"]
_ROWS_AT_ONCE = 100


@dataclass(frozen=True)
class Column:
    """A column of a table. ``text`` makes a cell of a row. ``whole``: a narrow terminal does not cut it."""

    title: str
    text: Callable[[Any], str]
    whole: bool = False
    style: Callable[[Any], str] | None = None


class Output:
    """Where results and messages go. rich is imported with the first table."""

    def __init__(self, format: Format = "table", utc: bool = False) -> None:
        self.format: Format = format
        self.utc = utc
        self._console: Console | None = None

    @property
    def console(self) -> "Console":
        """Rich's console on stdout: without colour and without a limit of width if stdout is no terminal."""
        if self._console is None:
            self._console = console_of(sys.stdout)
        return self._console

    def message(self, text: str) -> None:
        """Tells the user something that is not the result, on stderr."""
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()

    def text(self, text: str) -> None:
        """Writes a line of the result."""
        sys.stdout.write(f"{printable(text)}\n")

    def document(self, document: Any) -> None:
        """Writes a result as JSON: indented for ``json``, on one line for ``jsonl``."""
        sys.stdout.write(f"{json_text(document, 2 if self.format == 'json' else None)}\n")

    def lines(self, lines: Sequence[tuple[str, str]]) -> None:
        """Writes names and values below each other. A value may have several lines."""
        width = max(len(name) for name, _ in lines) + 2
        for name, value in lines:
            first, *others = printable(value).split("\n")
            sys.stdout.write(f"{printable_line(name):{width}}{first}\n")
            for other in others:
                sys.stdout.write(f"{'':{width}}{other}\n")

    def confirm(self, question: str, yes: bool) -> None:
        """Asks the user, unless ``yes``. Raises Failure if the answer is no, or if nobody can answer."""
        if yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise Failure(
                f"{question}\nNobody can answer here, so nothing was done. Repeat it with --yes.",
                ExitCode.USAGE,
            )
        sys.stderr.write(printable(f"{question} [y/N] "))
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Failure("Nothing was done.")

    def rows(self, rows: Iterable[Any], columns: Sequence[Column], empty: str) -> None:
        """Writes the rows as they come, with ``empty`` as a message if a table would have none."""
        if self.format == "jsonl":
            for row in rows:
                self.document(row)
                sys.stdout.flush()
        elif self.format == "json":
            _write_array(rows)
        else:
            self._table(iter(rows), columns, empty)

    def _table(self, rows: Iterator[Any], columns: Sequence[Column], empty: str) -> None:
        first = list(islice(rows, _ROWS_AT_ONCE))
        if not first:
            self.message(empty)
            return
        from sjm.cli.tables import Table

        table = Table(self.console, columns, first)
        for row in chain(first, rows):
            table.write(row)


def console_of(file: TextIO) -> "Console":
    """Rich's console on a file."""
    from rich.console import Console

    is_terminal = file.isatty()
    return Console(
        file=file,
        width=None if is_terminal else 10_000,
        no_color=True if os.environ.get("NO_COLOR") or not is_terminal else None,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not is_terminal,
    )


def json_text(document: Any, indent: int | None) -> str:
    """JSON in printable ASCII, so that no text of others reaches a terminal as it is."""
    return json.dumps(document, indent=indent).replace("\x7f", "\\u007f")


def _write_array(rows: Iterable[Mapping[str, Any]]) -> None:
    separator = "["
    for row in rows:
        sys.stdout.write(f"{separator}\n{json_text(row, 2)}")
        sys.stdout.flush()
        separator = ","
    sys.stdout.write("[]\n" if separator == "[" else "\n]\n")


__all__ = ["Column", "Format", "Output", "console_of", "json_text", "printable", "printable_line"]
