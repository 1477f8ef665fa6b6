"""Shows what a change of a job means, before it is made."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sjm.cli.output import Output

if TYPE_CHECKING:
    from sjm.review.review import Review
    from sjm.review.text import Line

_STYLES = {"create": "green", "change": "yellow", "delete": "red", "warning": "yellow", "summary": "bold"}


def show_review(output: Output, review: "Review") -> None:
    """Writes the review of one job."""
    from sjm.review.text import lines_of

    for line in lines_of(review):
        write_line(output, line)


def show_unknown(output: Output, unknown: Sequence[str]) -> None:
    """Tells what a review does not know, and which permission is missing."""
    for each in unknown:
        output.message(f"Not known: {each}")


def write_line(output: Output, line: "Line") -> None:
    """Writes a line of a review in its colour."""
    from rich.text import Text

    output.console.print(Text(line.text, style=_STYLES.get(line.kind, "")), soft_wrap=True)
