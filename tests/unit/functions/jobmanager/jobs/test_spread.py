"""The offset of a job: the same each time, and even over the window."""

from collections import Counter

import pytest

from jobmanager.jobs.definition import job_view
from jobmanager.jobs.spread import MAX_SPREAD_SECONDS, offset_seconds
from tests.unit.functions.examples import NOON_MS, save_job

KEYS = [f"service-{number % 40}/job-{number}" for number in range(10_000)]


def test_the_offset_of_a_job_never_changes() -> None:
    """A new version that changed it would move all jobs, and start those that wait twice or never."""
    offsets = [offset_seconds(f"billing/{name}", 3600) for name in ("nightly", "hourly", "invoices")]
    assert offsets == [1791, 1686, 3570]


@pytest.mark.parametrize("spread", [1, 7, 60, 900, 3599, MAX_SPREAD_SECONDS])
def test_the_offsets_of_10_000_names_are_even_over_the_window(spread: int) -> None:
    """Pearson's chi-squared test, with a limit that even offsets pass in all but one of 10,000 cases."""
    offsets = Counter(offset_seconds(key, spread) for key in KEYS)
    assert min(offsets) >= 0
    assert max(offsets) <= spread
    buckets = min(spread + 1, 50)
    sizes = Counter(second * buckets // (spread + 1) for second in range(spread + 1))
    found: Counter[int] = Counter()
    for second, count in offsets.items():
        found[second * buckets // (spread + 1)] += count
    expected = {bucket: len(KEYS) * size / (spread + 1) for bucket, size in sizes.items()}
    chi_squared = sum((found[bucket] - expected[bucket]) ** 2 / expected[bucket] for bucket in expected)
    freedom = buckets - 1
    assert chi_squared < freedom + 3.72 * (2 * freedom) ** 0.5 + 14


def test_both_ends_of_the_window_are_offsets() -> None:
    assert {offset_seconds(key, 3) for key in KEYS} == {0, 1, 2, 3}


def test_a_job_without_a_spread_has_no_offset() -> None:
    assert {offset_seconds(key, 0) for key in KEYS[:100]} == {0}


@pytest.mark.usefixtures("cloud")
def test_a_job_tells_its_offset_only_if_it_is_spread() -> None:
    assert "offset_seconds" not in job_view(save_job("at-once"), NOON_MS)
    view = job_view(save_job("nightly", spread_seconds=3600), NOON_MS)
    assert (view["spread_seconds"], view["offset_seconds"]) == (3600, 1791)
