"""Plain helpers over mappings."""

from collections.abc import Iterable, Mapping
from typing import Any


def picked(source: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Returns the entries with these names, in the order of ``names``; skips names that ``source`` lacks."""
    return {name: source[name] for name in names if name in source}
