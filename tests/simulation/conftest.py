from collections.abc import Iterator

import pytest

from tests.simulation.seams import Seams


@pytest.fixture
def seams() -> Iterator[Seams]:
    """Puts the seams in place, for all runs of a test."""
    with Seams() as found:
        yield found
