"""pytest-xdist's workers run the tests of their lane: each test once, whatever was picked."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import lanes

LANES = {
    "unit/test_computing": "computing",
    "simulation/test_computing_too": "computing",
    "integration/test_waiting": "waiting",
    "integration/browser/test_waiting_too": "waiting",
    "integration/test_docs": "computing",
}
CONFTEST = """
from pathlib import Path
from tests import lanes

lanes._TESTS_ON_THE_STAGE = Path(__file__).parent / "integration"
"""
TESTS = """
import os
from pathlib import Path
import pytest

HERE, WORKER = Path(__file__), os.environ["PYTEST_XDIST_WORKER"]
with HERE.with_suffix(".imported").open("a") as file:
    file.write(WORKER + "\\n")

@pytest.mark.parametrize("number", range(6))
def test_it(number):
    with HERE.with_suffix(".run").open("a") as file:
        file.write(f"{WORKER} {number}\\n")
"""
DEADLY = """
import os
from pathlib import Path

def test_deadly():
    os._exit(1)

"""

TO_ORDER = """
import pytest

def test_short(): pass
@pytest.mark.slow
def test_one_minute(): pass
@pytest.mark.xdist_group("group")
def test_of_a_group(): pass
def test_short_too(): pass
@pytest.mark.slow(3)
def test_three_minutes(): pass
@pytest.mark.slow(2)
@pytest.mark.xdist_group("group")
def test_of_a_group_too(): pass
def test_short_as_well(): pass
"""

type Run = Callable[..., pytest.RunResult]


@pytest.fixture
def project(pytester: pytest.Pytester) -> Path:
    """A directory of tests of both lanes. Each test and each import notes its worker."""
    pytester.makeconftest(CONFTEST)
    for name in LANES:
        file = pytester.path / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TESTS)
    return pytester.path


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs these tests with pytest-xdist, and with no other plugin: importing them takes long."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def with_workers(workers: int, *arguments: str) -> pytest.RunResult:
        plugins = ["-p", "xdist", "-p", "tests.lanes"]
        given = ["--import-mode=importlib", "-n", str(workers), "--dist", "loadgroup"]
        return pytester.runpytest_subprocess(*plugins, *given, *arguments)

    yield with_workers


def workers_of(project: Path, kind: str) -> dict[str, set[str]]:
    """By file, the workers that have run its tests or imported it."""
    return {
        name: {line.split()[0] for line in (project / f"{name}.{kind}").read_text().splitlines()}
        for name in LANES
    }


def in_lane(workers: dict[str, set[str]], lane: str) -> set[str]:
    return set[str]().union(*(workers[name] for name, own in LANES.items() if own == lane))


def test_each_test_runs_once_in_its_lane_and_is_imported_there_alone(project: Path, run: Run) -> None:
    run(6).assert_outcomes(passed=6 * len(LANES))
    for kind in ("run", "imported"):
        found = workers_of(project, kind)
        assert not in_lane(found, "computing") & in_lane(found, "waiting")
    for name in LANES:
        numbers = [line.split()[1] for line in (project / f"{name}.run").read_text().splitlines()]
        assert sorted(numbers) == [str(number) for number in range(6)]


def test_files_that_one_names_run_once(project: Path, run: Run) -> None:
    named = [f"{name}.py" for name in LANES]
    run(6, *named).assert_outcomes(passed=6 * len(LANES))


def test_a_lane_may_have_no_test(project: Path, run: Run) -> None:
    result = run(6, "unit")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=6)


def test_a_worker_that_dies_ends_the_run(project: Path, run: Run) -> None:
    (project / "unit" / "test_deadly.py").write_text(DEADLY)
    result = run(6, "--max-worker-restart", "0")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*worker 'gw*' crashed while running*test_deadly*"])


def test_few_workers_run_the_tests_of_both(project: Path, run: Run) -> None:
    run(2).assert_outcomes(passed=6 * len(LANES))
    assert set(map(len, workers_of(project, "imported").values())) == {2}


def test_each_worker_gets_a_long_test_first_and_then_a_short_one(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_TESTS_ON_THE_STAGE", pytester.path)
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nmarkers = ['slow', 'xdist_group']")
    items = pytester.getitems(TO_ORDER)
    assert [item.name.removeprefix("test_") for item in lanes.in_order(items, 2)] == [
        *("three_minutes", "of_a_group", "of_a_group_too"),
        *("short", "short_too"),
        *("one_minute", "short_as_well"),
    ]
