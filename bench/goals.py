"""What the project wants a run and a stage to cost, beside what they do cost."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.report import Row, markdown_table


@dataclass(frozen=True)
class Goal:
    """A figure that should not exceed another."""

    what: str
    unit: str
    at_most: float
    found: float

    @property
    def missed_by(self) -> float:
        """By how much the figure exceeds the goal; 0 if it does not."""
        return max(0.0, self.found - self.at_most)


def goals_section(goals: Iterable[Goal]) -> str:
    """The section that lists the goals. Nothing is rounded into a success."""
    rows: list[Row] = [
        {
            "what": each.what,
            "unit": each.unit,
            "goal": f"≤ {each.at_most:g}",
            "found": f"{each.found:.3f}".rstrip("0").rstrip("."),
            "missed by": f"{each.missed_by:.3f}" if each.missed_by else "",
        }
        for each in goals
    ]
    return f"## Goals\n\n{markdown_table(rows, list(rows[0]))}"
