"""Percentiles, medians and sums."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the least value that ``percent`` of the values do not exceed."""
    if not values or not 0 < percent <= 100:
        raise ValueError(f"expected values and a percentage above 0, up to 100, got {values} and {percent}")
    return sorted(values)[ceil(percent / 100 * len(values)) - 1]


def median_units(samples: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The median of each unit over the samples. A sample without the unit counts as 0."""
    known = list(samples)
    names = dict.fromkeys(name for sample in known for name in sample)
    return {name: percentile([sample.get(name, 0.0) for sample in known], 50) for name in names}


def difference(units: Mapping[str, float], without: Mapping[str, float]) -> dict[str, float]:
    """The units without others, name by name. Noise does not make a unit negative."""
    return {name: max(0.0, count - without.get(name, 0.0)) for name, count in units.items()}


def sum_of(*several: Mapping[str, float]) -> dict[str, float]:
    """The sum of the units, name by name."""
    total: dict[str, float] = {}
    for units in several:
        for name, count in units.items():
            total[name] = total.get(name, 0) + count
    return total
