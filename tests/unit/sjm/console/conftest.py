"""The console on a stand-in of a stage, opened in this process."""

from collections.abc import Iterator

import pytest

from tests.unit.sjm.console.stage_server import StageServer, served
from tests.unit.sjm.console.stage_stand_in import Stage
from tests.unit.sjm.console.visitor import Visitor, visiting


@pytest.fixture
def stage() -> Stage:
    """A stage without jobs."""
    return Stage()


@pytest.fixture
def stage_server(stage: Stage) -> Iterator[StageServer]:
    """The stage with an address."""
    with served(stage) as server:
        yield server


@pytest.fixture
def visitor(stage_server: StageServer) -> Iterator[Visitor]:
    """Whoever opened the console of the stage."""
    with visiting(stage_server) as visitor:
        yield visitor
