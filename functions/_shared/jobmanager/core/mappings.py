"""Plain helpers over mappings."""

from collections.abc import Iterable, Mapping
from typing import Any


def picked(source: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The entries with these names, in the order of the names, without those that ``source`` lacks."""
    return {name: source[name] for name in names if name in source}
