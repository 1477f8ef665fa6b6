"""Three of pytest-xdist's workers run the tests that compute. The others run those that wait for the stage.

The tests that compute fill the processors whenever the others wait. Many tests wait at once, and each worker
collects only what it may run, so that a further worker costs little. Within a lane, long tests come first.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Literal

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling, Scheduling
from xdist.workermanage import WorkerController, parse_tx_spec_config

type Lane = Literal["computing", "waiting"]

_TESTS_ON_THE_STAGE = Path(__file__).parent / "integration"
_COMPUTING_ON_THE_STAGE = {"test_docs.py", "test_packages.py"}
_TESTS_OF_TERRAFORM = Path(__file__).parent / "unit" / "terraform"
_COMPUTING_WORKERS = ("gw0", "gw1", "gw2")
_FEWEST_WORKERS = 6
"""With fewer workers, each runs both kinds of tests."""


@cache
def lane_of(file: Path) -> Lane:
    """The lane of the tests of a file."""
    waits = _TESTS_ON_THE_STAGE in file.parents and file.name not in _COMPUTING_ON_THE_STAGE
    return "waiting" if waits else "computing"


def own_lane(config: pytest.Config) -> Lane | None:
    """The lane of the tests that this process runs; None if it runs those of both."""
    lane: Lane | None = getattr(config, "workerinput", {}).get("lane")
    return lane


class LaneScheduling:
    """Hands out the tests of each lane to its workers, in their order and by their ``xdist_group``."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        self._config = config
        self._lanes: dict[Lane, LoadGroupScheduling] = {
            "computing": LoadGroupScheduling(config, log),
            "waiting": LoadGroupScheduling(config, log),
        }
        self._lanes["computing"].numnodes = len(_COMPUTING_WORKERS)
        self._lanes["waiting"].numnodes -= len(_COMPUTING_WORKERS)

    def _of(self, node: WorkerController) -> LoadGroupScheduling:
        return self._lanes[node.workerinput["lane"]]

    @property
    def nodes(self) -> list[WorkerController]:
        """The workers of both lanes."""
        return [node for lane in self._lanes.values() for node in lane.nodes]

    @property
    def collection_is_completed(self) -> bool:
        """Whether a lane has been collected, so that its tests may start."""
        return any(lane.collection_is_completed for lane in self._lanes.values())

    @property
    def tests_finished(self) -> bool:
        """Whether no worker has more than one test left."""
        return all(lane.tests_finished for lane in self._lanes.values())

    @property
    def has_pending(self) -> bool:
        """Whether any test is left."""
        return any(lane.has_pending for lane in self._lanes.values())

    def add_node(self, node: WorkerController) -> None:
        """Adds a worker, which will collect its tests."""
        self._of(node).add_node(node)

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """Notes what a worker has collected.

        pytest-xdist takes that for all tests. So this tells pytest how many there are in both lanes.
        """
        self._of(node).add_node_collection(node, collection)
        session = self._config.pluginmanager.get_plugin("session")
        assert isinstance(session, pytest.Session)
        session.testscollected = sum(
            len(next(iter(lane.registered_collections.values()), ())) for lane in self._lanes.values()
        )

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """Notes that a worker has run a test."""
        self._of(node).mark_test_complete(node, item_index, duration)

    def mark_test_pending(self, item: str) -> None:
        """Never called for tests in groups."""
        raise NotImplementedError

    def remove_pending_tests_from_node(self, node: WorkerController, indices: Sequence[int]) -> None:
        """Never called for tests in groups."""
        raise NotImplementedError

    def remove_node(self, node: WorkerController) -> str | None:
        """Removes a worker that has ended; returns the test that it was running if it crashed."""
        crashed: str | None = self._of(node).remove_node(node)
        return crashed

    def schedule(self) -> None:
        """Hands out the tests of each lane that has been collected."""
        for lane in self._lanes.values():
            if lane.collection_is_completed:
                lane.schedule()


def _has_lanes(config: pytest.Config) -> bool:
    is_grouped = config.getoption("dist", "no") == "loadgroup"
    return is_grouped and len(parse_tx_spec_config(config)) >= _FEWEST_WORKERS


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Tells a new worker which tests it runs."""
    if _has_lanes(node.config):
        computes = node.gateway.id in _COMPUTING_WORKERS
        node.workerinput["lane"] = "computing" if computes else "waiting"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """Uses lanes if there are enough workers."""
    return LaneScheduling(config, log) if _has_lanes(config) else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out the files and directories of the other lane, so that this process does not import them."""
    lane = own_lane(config)
    has_both = collection_path.is_dir() and (
        collection_path in _TESTS_ON_THE_STAGE.parents
        or _TESTS_ON_THE_STAGE in (collection_path, *collection_path.parents)
    )
    return None if lane is None or has_both or lane_of(collection_path) == lane else True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests of the other lane in files that the command line names, and orders the others."""
    lane = own_lane(config)
    own = [item for item in items if lane in (None, lane_of(item.path))]
    workers = len(_COMPUTING_WORKERS)
    if lane == "waiting":
        workers = getattr(config, "workerinput", {})["workercount"] - workers
    items[:] = in_order(own, workers)


def in_order(items: Iterable[pytest.Item], workers: int) -> list[pytest.Item]:
    """Orders tests so that no long one comes last, or behind another long one.

    The tests of an ``xdist_group`` stay together. Terraform's groups come first: they compute longest.
    A worker runs one test while the next one waits for it. So each gets a long one first, then a short one.
    """
    groups: dict[object, list[pytest.Item]] = {}
    for item in items:
        marker = item.get_closest_marker("xdist_group")
        groups.setdefault(marker.args if marker else item, []).append(item)
    long = sorted((group for group in groups.values() if _minutes(group)), key=_minutes, reverse=True)
    short = [group for group in groups.values() if not _minutes(group)]
    rest = chain.from_iterable(zip_longest(long[workers:], short[workers:], fillvalue=[]))
    return [item for group in (*long[:workers], *short[:workers], *rest) for item in group]


def _minutes(group: Sequence[pytest.Item]) -> float:
    """About how long a group of tests takes; 0 if it is short."""
    if markers := [marker for item in group for marker in item.iter_markers("slow")]:
        return max(marker.args[0] if marker.args else 1 for marker in markers)
    if len(group) == 1:
        return 0
    if _TESTS_OF_TERRAFORM in group[0].path.parents:
        return math.inf
    return 1 if lane_of(group[0].path) == "waiting" else 0
