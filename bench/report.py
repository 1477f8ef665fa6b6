"""Writes a benchmark's results to build/bench: a page in Markdown, and the same figures as CSV."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from pygal.graph.graph import Graph

from bench.prices import AS_OF, REGION, Price

_PROJECT = Path(__file__).resolve().parents[1]
DIRECTORY = _PROJECT / "build" / "bench"
DOCS = _PROJECT / "docs"

type Row = Mapping[str, str | float | int]


class MissedTarget(Exception):
    """A benchmark missed its target. The message says how; ``page`` has all results."""

    def __init__(self, page: str, what: str) -> None:
        super().__init__(what)
        self.page = page


def markdown_table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A Markdown table. Columns of numbers are aligned to the right."""
    cells = [[_shown(row.get(name, "")) for name in columns] for row in rows]
    is_number = [all(isinstance(row.get(name, 0), int | float) for row in rows) for name in columns]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(texts, widths, is_number, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * (width - 1) + ":" if number else "-" * width
        for width, number in zip(widths, is_number, strict=True)
    ]
    return "\n".join([line(columns), line(rule), *map(line, cells)])


def prices_section(prices: Mapping[str, Price]) -> str:
    """The section that lists the prices and their sources."""
    rows: list[Row] = [
        {
            "unit": name,
            "$": str(price.dollars),
            "per": f"{price.per:,.0f}",
            "of": price.what,
            "source": price.source,
        }
        for name, price in prices.items()
    ]
    return (
        f"## Prices\n\nList prices in {REGION}, looked up on {AS_OF}, without free tiers.\n\n"
        f"{markdown_table(rows, list(rows[0]))}\n"
    )


def write(name: str, page: str, rows: Sequence[Row]) -> Path:
    """Writes ``<name>.md`` and ``<name>.csv``, and returns the path of the page."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with (DIRECTORY / f"{name}.csv").open("w", newline="") as file:
        columns = list(dict.fromkeys(column for row in rows for column in row))
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    path = DIRECTORY / f"{name}.md"
    path.write_text(page)
    return path


def write_plot(name: str, chart: Graph) -> Path:
    """Writes ``<name>.svg``, and returns its path."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    path = DIRECTORY / f"{name}.svg"
    path.write_bytes(chart.render())
    return path


def _shown(value: str | float | int) -> str:
    if not isinstance(value, float):
        return str(value)
    decimals = 2 if abs(value) >= 1 else 4
    return f"{value:,.{decimals}f}".rstrip("0").rstrip(".")
