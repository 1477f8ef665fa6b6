"""A chain of executions as a drawing: layers from left to right, a box for each, arrows between them.

The template draws it as SVG. Places are in pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sjm.client import Chain, Execution
from sjm.console import outcomes

MOST = 200
"""The most executions that are drawn."""

BOX_WIDTH = 184
BOX_HEIGHT = 44
_GAP_X = 56
_GAP_Y = 14
_MARGIN = 6
_NAME_BEGIN, _NAME_END = 11, 9


@dataclass(frozen=True)
class Box:
    """One execution, and where its box is. ``after`` names the jobs after which it runs."""

    run: Execution
    x: int
    y: int
    name: str
    after: Sequence[str]
    is_here: bool


@dataclass(frozen=True)
class Drawing:
    """A chain, those of a layer beside each other. ``arrows`` are paths of SVG."""

    boxes: Sequence[Box]
    arrows: Sequence[str]
    layers: int
    width: int
    height: int
    is_cut: bool

    @property
    def has_here(self) -> bool:
        """Whether the execution whose page this is has a box."""
        return any(box.is_here for box in self.boxes)

    @property
    def middle(self) -> tuple[int, int]:
        """The middle of the box of the execution whose page this is; of the first one, if it has none."""
        box = next((each for each in self.boxes if each.is_here), next(iter(self.boxes), None))
        return (0, 0) if box is None else (box.x + BOX_WIDTH // 2, box.y + BOX_HEIGHT // 2)

    @property
    def goes_on(self) -> bool:
        """Whether one of the executions has not ended."""
        return any(box.run["status"] in outcomes.NOT_ENDED for box in self.boxes)


def drawn(chain: Chain, here: str) -> Drawing:
    """Lays out a chain, as the page of the execution ``here`` shows it."""
    runs = {run["execution_id"]: run for run in chain["executions"][:MOST]}
    parents = _parents(runs)
    layer_of = _layers(parents)
    layers: list[list[str]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    for name, number in layer_of.items():
        layers[number].append(name)
    rows: dict[str, float] = {}
    for layer in layers:
        _place(layer, parents, rows)
    places = {
        name: (
            _MARGIN + layer_of[name] * (BOX_WIDTH + _GAP_X),
            round(_MARGIN + row * (BOX_HEIGHT + _GAP_Y)),
        )
        for name, row in rows.items()
    }
    return Drawing(
        [
            Box(
                runs[name],
                *places[name],
                _shortened(runs[name]["job_name"]),
                [each["job"] for each in runs[name].get("parents", [])],
                name == here,
            )
            for name in places
        ],
        [_arrow(places[parent], places[name]) for name in places for parent in parents[name]],
        len(layers),
        max((x for x, _ in places.values()), default=0) + BOX_WIDTH + _MARGIN,
        max((y for _, y in places.values()), default=0) + BOX_HEIGHT + _MARGIN,
        chain["is_cut"] or len(chain["executions"]) > MOST,
    )


def _parents(runs: Mapping[str, Execution]) -> dict[str, list[str]]:
    """Of each execution, those before it that are drawn, too.

    For a moment, only one of two executions names the other.
    """
    found = {
        name: [each["execution_id"] for each in run.get("parents", []) if each["execution_id"] in runs]
        for name, run in runs.items()
    }
    for name, run in runs.items():
        for child in run.get("children", []):
            if child in found and name not in found[child]:
                found[child].append(name)
    return found


def _layers(parents: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Of each execution, the number of its layer: one more than the last one of its parents."""
    layer_of: dict[str, int] = {}
    left = list(parents)
    while left:
        ready = [name for name in left if all(each in layer_of for each in parents[name])]
        # Executions cannot form a circle. What says so is drawn all the same.
        for name in ready or left:
            layer_of[name] = 1 + max((layer_of.get(each, -1) for each in parents[name]), default=-1)
        left = [name for name in left if name not in layer_of]
    return layer_of


def _place(layer: Sequence[str], parents: Mapping[str, Sequence[str]], rows: dict[str, float]) -> None:
    """Gives each of a layer a row: as high as its parents, or below those that are there already."""

    def wanted(name: str) -> float:
        found = [rows[each] for each in parents[name] if each in rows]
        return sum(found) / len(found) if found else 0.0

    free = 0.0
    for row, name in sorted(((wanted(name), name) for name in layer), key=lambda each: each[0]):
        rows[name] = max(row, free)
        free = rows[name] + 1


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    """A curve from the right of one box to the left of another."""
    x1, y1 = start[0] + BOX_WIDTH, start[1] + BOX_HEIGHT // 2
    x2, y2 = end[0] - 2, end[1] + BOX_HEIGHT // 2
    middle = (end[0] - _GAP_X // 2) if x2 > x1 else (x1 + x2) // 2
    return f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"


def _shortened(name: str) -> str:
    """A name that fits into a box. Jobs of a chain often begin alike, so its end is kept, too."""
    if len(name) <= _NAME_BEGIN + 1 + _NAME_END:
        return name
    return f"{name[:_NAME_BEGIN]}…{name[-_NAME_END:]}"
